"""The official conformance suites find nothing to object to: the unix build, which listens itself,
the emulated Pico behind an HTTP front end, and CPython behind uvicorn. `make conformance` does the
same."""

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))

import servers  # noqa: E402
import suites  # noqa: E402

# Every suite in both places: {(place, name of the suite): Outcome}.
OUTCOMES = {}


@pytest.fixture(scope="module", params=servers.PLACES)
def place(request):
    with servers.PLACES[request.param]() as url:
        yield request.param, url


@pytest.mark.timeout(suites.TIMEOUT_S)
@pytest.mark.parametrize("suite", suites.SUITES, ids=lambda suite: suite.name)
def test_official_suite(place, suite):
    name, url = place
    outcome = OUTCOMES[name, suite.name] = suites.run(suite, url)
    print(outcome.report())
    assert not outcome.failures, outcome.report()
    if ("unix", suite.name) in OUTCOMES:
        # What passes there and was not even tried here is what servers.py names.
        all_of_them = Counter(OUTCOMES["unix", suite.name].passes)
        missing = all_of_them - Counter(outcome.passes)
        assert set(missing) <= set(servers.BEYOND[name])

"""The official conformance suites find nothing to object to: the unix build, which listens itself,
and the emulated Pico behind an HTTP front end. `make conformance` does the same."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))

import servers  # noqa: E402
import suites  # noqa: E402


@pytest.fixture(scope="module", params=servers.PLACES)
def url(request):
    with servers.PLACES[request.param]() as url:
        yield url


@pytest.mark.timeout(suites.TIMEOUT_S)
@pytest.mark.parametrize("suite", suites.SUITES, ids=lambda suite: suite.name)
def test_official_suite(url, suite):
    outcome = suites.run(suite, url)
    print(outcome.report())
    assert not outcome.failures, outcome.report()

"""Fixtures for all tests. The tree's packages are tested, not an installed copy."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

import soak  # noqa: E402
import targets  # noqa: E402
import wire_record  # noqa: E402
from http_tap import HTTPTap  # noqa: E402

# The same examples in every run but a soak run, however slowly they are made.
settings.register_profile(
    "ours",
    derandomize=not soak.SOAK,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ours")

TARGETS = ["unix", "cortex-m3", "pico"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """A test fails in which a server sent what its revision's schema does not allow."""
    result = yield
    wire_record.check_all(over=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    result = yield
    wire_record.check_all()
    return result


@pytest.fixture
def http_tap():
    """http_tap(url): the URL of a way to that server on which all that passes is recorded."""
    taps = []

    def make(url):
        taps.append(HTTPTap(url))
        return taps[-1].url

    yield make
    for tap in taps:
        tap.close()


@pytest.fixture(scope="session")
def _targets(tmp_path_factory):
    """Boards that are on, by name: they stay on for the whole session."""
    running = {}
    yield running
    for target in running.values():
        target.close()


def _target(name, running, tmp_path_factory):
    if name not in running:
        running[name] = targets.make_target(name, tmp_path_factory.mktemp(name))
    return running[name]


@pytest.fixture(params=TARGETS)
def target(request, _targets, tmp_path_factory):
    """Each of the targets in turn: target.run(script) -> output."""
    return _target(request.param, _targets, tmp_path_factory)


@pytest.fixture(params=TARGETS[1:])
def board(request, _targets, tmp_path_factory):
    """Each of the simulated boards in turn; .sim is the running simulator."""
    return _target(request.param, _targets, tmp_path_factory)


@pytest.fixture
def pico(_targets, tmp_path_factory):
    """The emulated Pico as a target; .sim is the running PicoSim."""
    return _target("pico", _targets, tmp_path_factory)


@pytest.fixture
def cortex_m3(_targets, tmp_path_factory):
    """The Cortex-M3 board as a target; .sim is the running CortexM3Sim."""
    return _target("cortex-m3", _targets, tmp_path_factory)


@pytest.fixture
def cortex_m4f(_targets, tmp_path_factory):
    """The Cortex-M4F board as a target, on which board_cost.instructions() counts."""
    return _target("cortex-m4f", _targets, tmp_path_factory)


@pytest.fixture
def unix(_targets, tmp_path_factory):
    """The unix build as a target; .micropython is its path."""
    return _target("unix", _targets, tmp_path_factory)


@pytest.fixture(scope="session")
def data_dir():
    """Shared test data that is not part of the repository; MCPGW_DATA names the folder."""
    folder = Path(os.environ.get("MCPGW_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder} (set MCPGW_DATA)")
    return folder


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory):
    """The repository's own small models, trained in this session; see tools/train_models.py."""
    import train_models

    folder = tmp_path_factory.mktemp("models")
    train_models.train(folder)
    return folder


@pytest.fixture
def seed(request):
    """A seed for this test, printed and listed at the end of a soak run."""
    return soak.seed(request.node.nodeid)


def pytest_terminal_summary(terminalreporter):
    if soak.SOAK:
        for name, value in soak.SEEDS:
            terminalreporter.write_line(f"seed {value}: {name} (MCPGW_SEED={value} repeats it)")

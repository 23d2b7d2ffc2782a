"""Fixtures for tests on simulated boards of their own."""

import shutil

import pytest
import targets
from mcpgw.sim import PicoSim


@pytest.fixture(scope="session")
def used_flash(tmp_path_factory):
    """A flash image on which the firmware has booted once and made its file system."""
    flash = tmp_path_factory.mktemp("flash") / "flash.img"
    with PicoSim(targets.firmware("pico"), flash=flash) as sim:
        targets.run(sim, "print('booted')")
    return flash


@pytest.fixture
def sim(tmp_path, used_flash):
    """A Pico of the test's own, on, with nothing on it but an empty file system."""
    flash = shutil.copy(used_flash, tmp_path / "flash.img")
    with PicoSim(targets.firmware("pico"), flash=flash) as sim:
        yield sim

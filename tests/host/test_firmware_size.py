"""Budgets of the built firmware, and that the tables which describe it agree with it."""

import importlib.util
import json
from pathlib import Path

import pytest
from targets import firmware

ROOT = Path(__file__).parents[2]
KB = 1024


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


size = load(ROOT / "tools/size.py")


@pytest.fixture(scope="module")
def pico():
    return firmware("pico").with_name("firmware.elf"), "arm-none-eabi-"


def test_the_pico_firmware_is_within_its_budgets(pico):
    budget = size.pico_budget(*pico)
    assert budget["flash_used"] < 600 * KB
    assert budget["flash_used"] < budget["flash_limit"]
    assert budget["heap"] >= 230 * KB  # of which a serving gateway leaves 180 KB free
    # what is written to the chip is what was counted
    assert pico[0].with_suffix(".bin").stat().st_size == budget["flash_used"]


def test_every_module_of_the_package_is_frozen_and_counted(pico):
    cost = size.frozen(*pico)
    names = size.module_paths()
    package = {m for m, dotted in names.items() if dotted.startswith("mcp_gw")}
    assert package <= set(cost)
    assert all(cost[m] > 0 for m in package)
    # nearly all of the frozen code is attributed: compare with what the elf says in total
    table = size.symbols(*pico)
    total = sum(n for name, n in table if name.startswith(("fun_data_", "const_qstr_table_data_")))
    assert sum(cost.values()) > total


def test_flash_regions_follow_each_other_and_fill_the_flash():
    flash = json.loads((ROOT / "boards/MCPGW_PICO/profile.json").read_text())["flash"]
    at = 0
    for name in ("firmware", "rom", "littlefs", "queue"):
        region = flash["regions"][name]
        assert region["start"] == at, name
        assert region["bytes"] % flash["sector_bytes"] == 0, name
        at += region["bytes"]
    assert at == flash["bytes"]

"""Budgets of the built firmware, and that the tables which describe it agree with it."""

import ast
import importlib.util
import json
import subprocess
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


def test_the_unix_build_has_no_executable_stack():
    """As one object file from assembly that does not say so would make it."""
    command = ["readelf", "-lW", firmware("unix")]
    headers = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (row,) = [line.split() for line in headers.splitlines() if "GNU_STACK" in line]
    assert row[6] == "RW", row


def left_out():
    """What the manifest can leave out: beginnings of paths in mcp_gw/. Where there is no network,
    or where a C module is what the firmware has."""
    tree = ast.parse((ROOT / "firmware" / "manifest.py").read_text())
    rows = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    names = ("_NETWORK", "_ARRAYS", "_TWINS")
    return tuple(path for name in names for path in ast.literal_eval(rows[name]))


def path_of(dotted):
    """Path in mcp_gw/ of a module, without its ending."""
    return dotted.removeprefix("mcp_gw").strip(".").replace(".", "/")


def test_every_module_of_the_package_is_frozen_and_counted(pico):
    cost = size.frozen(*pico)
    names = size.module_paths()
    package = {m for m, dotted in names.items() if dotted.startswith("mcp_gw")}
    absent = {m for m in package if path_of(names[m]).startswith(left_out())}
    assert len(absent) > 10 and not absent & set(cost)
    assert any("arrays" in names[m] for m in absent)
    assert package - absent <= set(cost)
    assert all(cost[m] > 0 for m in package - absent)
    # nearly all of the frozen code is attributed: compare with what the elf says in total
    table = size.symbols(*pico)
    total = sum(n for name, n in table if name.startswith(("fun_data_", "const_qstr_table_data_")))
    assert sum(cost.values()) > total


def test_nothing_needs_what_is_left_out_in_order_to_be_imported():
    """Functions may: they say that there is no network."""
    package = ROOT / "mcp_gw"
    for file in package.rglob("*.py"):
        own = file.relative_to(package).with_suffix("")
        if str(own).startswith(left_out()):
            continue
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.level:
                folder = own.parents[node.level - 1] if own.name != "__init__" else own.parent
                wanted = (folder / (node.module or "").replace(".", "/")).as_posix()
                wanted = [wanted, *(f"{wanted}/{alias.name}" for alias in node.names)]
                assert not [w for w in wanted if w.startswith(left_out())], (file, wanted)


def test_flash_regions_follow_each_other_and_fill_the_flash():
    flash = json.loads((ROOT / "boards/MCPGW_PICO/profile.json").read_text())["flash"]
    at = 0
    for name in ("firmware", "rom", "littlefs", "queue"):
        region = flash["regions"][name]
        assert region["start"] == at, name
        assert region["bytes"] % flash["sector_bytes"] == 0, name
        at += region["bytes"]
    assert at == flash["bytes"]

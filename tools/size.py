#!/usr/bin/env python3
"""What the built firmware costs: flash and RAM per target, and bytes per frozen module.

    size.py [BUILD]        BUILD is the build folder (default: build)

Reads the ELF files' section and symbol tables; a target that is not built is left out.
"""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# target: its ELF file below the build folder, the prefix of its binutils
TARGETS = {
    "unix": ("unix/micropython", ""),
    "cortex-m3": ("cortex-m3/firmware.elf", "arm-none-eabi-"),
    "cortex-m4f": ("cortex-m4f/firmware.elf", "arm-none-eabi-"),
    "pico": ("pico/firmware.elf", "arm-none-eabi-"),
}
PROFILE = ROOT / "boards/MCPGW_PICO/profile.json"
# What mpy-tool.py makes of a frozen module, MODULE being its path with every / and . as _:
# code per function, tables, constants.  frozen_module_MODULE marks the modules there are.
FROZEN = re.compile(
    r"(?:fun_data|raw_code|children|const_qstr_table_data|const_obj_table_data|const_obj"
    r"|const_table_data|frozen_module|proto_fun)_(\w+)"
)
SHARED = re.compile(r"mp_qstr_frozen|mp_frozen")  # names of all of them together


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def sections(elf: Path, prefix: str) -> tuple[int, int, int]:
    """(text, data, bss) in bytes."""
    text, data, bss = _run(f"{prefix}size", str(elf)).splitlines()[1].split()[:3]
    return int(text), int(data), int(bss)


def symbols(elf: Path, prefix: str) -> list[tuple[str, int]]:
    """(name, size in bytes) of every symbol that has a size."""
    found = []
    for line in _run(f"{prefix}nm", "-S", str(elf)).splitlines():
        fields = line.split()
        if len(fields) == 4:
            found.append((fields[3], int(fields[1], 16)))
    return found


def addresses(elf: Path, prefix: str) -> dict[str, int]:
    lines = (line.split() for line in _run(f"{prefix}nm", str(elf)).splitlines())
    return {f[-1]: int(f[0], 16) for f in lines if len(f) == 3}


def frozen(elf: Path, prefix: str) -> Counter[str]:
    """Bytes per frozen module, by the module's escaped name; "(names)" is what they share."""
    table = symbols(elf, prefix)
    modules = {
        name.removeprefix("frozen_module_") for name, _ in table if "frozen_module_" in name
    }
    by_length = sorted(modules, key=len, reverse=True)
    cost: Counter[str] = Counter()
    for name, size in table:
        if m := FROZEN.match(name):
            for module in by_length:
                if m[1] == module or m[1].startswith(module + "_"):
                    cost[module] += size
                    break
        elif SHARED.match(name):
            cost["(names)"] += size
    return cost


def module_paths() -> dict[str, str]:
    """Escaped name -> dotted name, of our own modules."""
    files = [p.relative_to(ROOT) for p in (ROOT / "mcp_gw").rglob("*.py")]
    files += [Path(p.name) for p in (ROOT / "firmware").rglob("*.py")]
    return {re.sub(r"[/.]", "_", str(p)[:-3]): str(p)[:-3].replace("/", ".") for p in files}


def pico_budget(elf: Path, prefix: str) -> dict[str, int]:
    """Bytes of flash that the firmware takes and may take, and of RAM left for Python's heap."""
    where = addresses(elf, prefix)
    region = json.loads(PROFILE.read_text())["flash"]["regions"]["firmware"]
    return {
        "flash_used": where["__flash_binary_end"] - where["__flash_binary_start"],
        "flash_limit": region["bytes"],
        "heap": where["__GcHeapEnd"] - where["__GcHeapStart"],
    }


def main(build: Path) -> int:
    built = {t: (build / f, p) for t, (f, p) in TARGETS.items() if (build / f).is_file()}
    if not built:
        print(f"nothing is built in {build}: make firmware", file=sys.stderr)
        return 1
    print(f"{'target':<12}{'text':>10}{'data':>10}{'bss':>10}   bytes")
    for target, (elf, prefix) in built.items():
        print(f"{target:<12}" + "".join(f"{n:>10,}" for n in sections(elf, prefix)))
    if "pico" in built:
        b = pico_budget(*built["pico"])
        print(
            f"\npico: {b['flash_used']:,} of {b['flash_limit']:,} bytes of firmware flash"
            f" ({100 * b['flash_used'] // b['flash_limit']} %), {b['heap']:,} bytes of heap"
        )
    target = next((t for t in ("pico", "cortex-m3") if t in built), None)
    if target:
        cost = frozen(*built[target])
        names = module_paths()
        ours = {m: n for m, n in cost.items() if m in names}
        print(f"\nfrozen into {target}, bytes of flash per module")
        for module, size in sorted(ours.items(), key=lambda item: -item[1]):
            print(f"  {names[module]:<32}{size:>8,}")
        print(f"  {'in all, ours':<32}{sum(ours.values()):>8,}")
        others = sum(n for m, n in cost.items() if m not in names and m != "(names)")
        print(f"  {'asyncio and the port itself':<32}{others:>8,}")
        print(f"  {'their names, shared':<32}{cost['(names)']:>8,}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build")))

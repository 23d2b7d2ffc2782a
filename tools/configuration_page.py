"""Writes the tables of docs/configuration.md, from the checker's own (mcpgw/edge/table.py).

configuration_page.py           writes them
configuration_page.py --check   says whether they are up to date
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from mcpgw.edge import table  # noqa: E402

PAGE = ROOT / "docs" / "configuration.md"
BEGIN = "<!-- tables: made by `make docs` from tools/mcpgw/edge/table.py -->\n"
END = "<!-- end of tables -->\n"


def main():
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    text = before + BEGIN + "".join(sections()) + END + after
    if "--check" in sys.argv:
        if text != page:
            sys.exit(f"{PAGE.relative_to(ROOT)} is not up to date: make docs")
    else:
        PAGE.write_text(text)


def sections():
    for section, (about, fields, needed) in table.SECTIONS.items():
        head = f"{section}.NAME" if section in table.NAMED else section
        yield f"\n### [{head}]\n\n{about}\n\n"
        if section == "settings":
            yield "| key | values |\n|---|---|\n"
            yield from (f"| `{key}` | {known.range} |\n" for key, known in fields.items())
            continue
        yield from rows(fields, needed)
        if section == "upstreams":
            yield "\nOf a section [upstreams.NAME.queueable.TOOL] (docs/queue.md):\n\n"
            yield from rows(table.QUEUEABLE, ())
    yield "\n"


def rows(fields, needed):
    yield "| key | what it is | values | default |\n|---|---|---|---|\n"
    for key, known in fields.items():
        about = known.about + (" (hidden by `config show`)" if known.secret else "")
        default = "must be there" if key in needed else known.default
        yield f"| `{key}` | {cell(about)} | {cell(known.range)} | {cell(default)} |\n"


def cell(text):
    return re.sub(r"([|_*])", r"\\\1", text) if "`" not in text else text


if __name__ == "__main__":
    main()

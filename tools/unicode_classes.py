"""Write the table of character classes that the tokenizer splits text by, for C and for Python:

    pip install unicodedata2==16.0.0
    python tools/unicode_classes.py

The version is that of the regular expressions in tiktoken; tests/host/test_bpe_unicode.py compares
every code point with them. Newer code points are letters to nobody until both move on.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
UNICODE = "16.0.0"
# Numbers as in c_modules/bpe/bpe_split.h.
OTHER, SPACE, NUMBER, UPPER, LOWER, LETTER, MARK = range(7)
# Of a range of one of these the even code points are upper case, or the odd ones.
EVEN_UPPER, ODD_UPPER = 8, 9
CLASS = {"Lu": UPPER, "Lt": UPPER, "Ll": LOWER, "Lm": LETTER, "Lo": LETTER}
CLASS |= dict.fromkeys(("Nd", "Nl", "No"), NUMBER) | dict.fromkeys(("Mn", "Mc", "Me"), MARK)
# White_Space of Unicode, which is not a general category.
SPACES = {*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029}
SPACES |= {0x202F, 0x205F, 0x3000}


def classes(category):
    """The class of every code point; category: a function of a character."""
    return [
        SPACE if point in SPACES else CLASS.get(category(chr(point)), OTHER)
        for point in range(0x110000)
    ]


def ranges(found):
    """[(first, class)] of runs; runs of alternating case are one."""
    alternating = {EVEN_UPPER: (UPPER, LOWER), ODD_UPPER: (LOWER, UPPER)}
    rows = []
    at = 0
    while at < len(found):
        end, kind = at + 1, found[at]
        while end < len(found) and found[end] == kind:
            end += 1
        for name, pair in alternating.items():
            stop = at
            while stop < len(found) and found[stop] == pair[stop & 1]:
                stop += 1
            # Ending inside a longer run of one class would only cut that in two.
            if stop > end and stop - at >= 4:
                if stop < len(found) and found[stop] == found[stop - 1]:
                    stop -= 1
                end, kind = stop, name
        rows.append((at, kind))
        at = end
    return rows


def planes(rows):
    """(index, rows): rows as (low 16 bits, class), each plane with a row at 0; index: where the
    planes 0 to 16 begin in rows, and where the last one ends."""
    index, out = [], []
    kind = OTHER
    rest = list(rows)
    for plane in range(17):
        index.append(len(out))
        if not rest or rest[0][0] != plane << 16:
            out.append((0, kind))
        while rest and rest[0][0] >> 16 == plane:
            first, kind = rest.pop(0)
            out.append((first & 0xFFFF, kind))
    return [*index, len(out)], out


def packed(kinds):
    """Two classes a byte, the first in the low half."""
    kinds = [*kinds, *[0] * (len(kinds) & 1)]
    return bytes(low | high << 4 for low, high in zip(kinds[::2], kinds[1::2], strict=True))


def lines(numbers, width, form):
    texts = [form % number for number in numbers]
    return "".join(
        "    " + " ".join(texts[at : at + width]) + "\n" for at in range(0, len(texts), width)
    )


def c_text(index, rows):
    firsts, kinds = [first for first, _ in rows], packed([kind for _, kind in rows])
    return (
        f"// Made by tools/unicode_classes.py from Unicode {UNICODE}.\n\n"
        '#include "bpe_split.h"\n\n'
        f"const uint16_t bpe_planes[{len(index)}] = {{\n{lines(index, 16, '%d,')}}};\n\n"
        f"const uint16_t bpe_firsts[{len(firsts)}] = {{\n{lines(firsts, 16, '0x%04x,')}}};\n\n"
        f"const uint8_t bpe_kinds[{len(kinds)}] = {{\n{lines(kinds, 20, '0x%02x,')}}};\n"
    )


def python_text(index, rows):
    firsts = b"".join(first.to_bytes(2, "little") for first, _ in rows)
    kinds = packed([kind for _, kind in rows])

    def literal(data):
        return "".join(
            '    b"' + "".join(f"\\x{byte:02x}" for byte in data[at : at + 20]) + '"\n'
            for at in range(0, len(data), 20)
        )

    return (
        '"""Classes of characters; made by tools/unicode_classes.py from Unicode '
        f'{UNICODE}."""\n\n'
        "# fmt: off\n"
        f"PLANES = (\n{lines(index, 16, '%d,')})\n"
        f"FIRSTS = (\n{literal(firsts)})\n"
        f"KINDS = (\n{literal(kinds)})\n"
    )


def main():
    import unicodedata2

    if unicodedata2.unidata_version != UNICODE:
        sys.exit(f"Unicode {UNICODE} is wanted: pip install unicodedata2=={UNICODE}")
    index, rows = planes(ranges(classes(unicodedata2.category)))
    (ROOT / "c_modules" / "bpe" / "bpe_unicode.c").write_text(c_text(index, rows))
    (ROOT / "mcp_gw" / "infer" / "bpe_unicode.py").write_text(python_text(index, rows))
    print(f"{len(rows)} ranges, {len(rows) * 5 // 2} bytes")


if __name__ == "__main__":
    main()

"""Texts that are hard on tokenizers, made from what a machine has: no download."""

import os
import random
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SPACES = [chr(c) for c in (9, 10, 11, 12, 13, 32, 0x85, 0xA0, 0x1680, 0x2003, 0x2028, 0x3000)]
MARKS = "\u0301\u0308\u0323\u064b\u0e31\u20dd\ufe0f\U000e0100"
EMOJI = ["😀", "👩‍👩‍👧‍👦", "🇳🇴", "👍🏽", "❤️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "✈", "1️⃣"]
SCRIPTS = [
    (0x41, 0x5A),
    (0x61, 0x7A),
    (0xC0, 0x24F),
    (0x370, 0x3FF),
    (0x400, 0x4FF),
    (0x5D0, 0x5EA),
    (0x620, 0x64A),
    (0x905, 0x939),
    (0xE01, 0xE30),
    (0x10D0, 0x10FF),
    (0x1E00, 0x1EFF),
    (0x2C80, 0x2CE3),
    (0x3041, 0x3096),
    (0x4E00, 0x9FFF),
    (0xA640, 0xA66D),
    (0xAC00, 0xD7A3),
    (0x1D400, 0x1D7CB),
    (0x20000, 0x2A6DF),
]
DIGITS = "0123456789٠१๓Ⅷ½²①"
SIGNS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»—…€¿"
CONTRACTIONS = [
    "'s",
    "'S",
    "'t",
    "'ll",
    "'LL",
    "'Ve",
    "'re",
    "'d",
    "'m",
    "'x",
    "'l",
    "'\u017f",
    "''s",
]


def natural():
    """Bytes of text and source code: the repository, licences, Python's library."""
    files = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", *(ROOT / "mcp_gw").glob("*.py")]
    files += sorted((ROOT / "c_modules").glob("*/*.c"))
    files += sorted(Path("/usr/share/common-licenses").glob("*"))
    library = Path(os.__file__).parent
    files += sorted(library.glob("*.py")) + sorted((library / "encodings").glob("*.py"))
    return b"\n".join(file.read_bytes() for file in files if file.is_file())


def word(r):
    low, high = r.choice(SCRIPTS)
    letters = [chr(r.randint(low, high)) for _ in range(r.choice((1, 1, 2, 3, 5, 8, 13, 40)))]
    form = r.random()
    if form < 0.2:
        letters = [letter.upper() for letter in letters]
    elif form < 0.5:
        letters[0] = letters[0].upper()
    elif form < 0.6:
        letters = [r.choice((letter.upper(), letter.lower())) for letter in letters]
    if r.random() < 0.2:
        for _ in range(r.randint(1, 4)):
            letters.insert(r.randint(0, len(letters)), r.choice(MARKS))
    return "".join(letters)


def anything(r):
    while (
        0xD800
        <= (point := r.choice((r.randint(0, 0x7F), r.randint(0, 0x2FFF), r.randint(0, 0x10FFFF))))
        < 0xE000
    ):
        pass
    return chr(point)


def fragment(r):
    """A few characters of one kind."""
    form = r.randrange(12)
    if form < 4:
        return word(r)
    if form == 4:
        return "".join(r.choice(DIGITS[: r.choice((10, 17))]) for _ in range(r.randint(1, 9)))
    if form == 5:
        return "".join(r.choice(SPACES) for _ in range(r.randint(1, 6)))
    if form == 6:
        return " " * r.choice((1, 1, 1, 2, 3, 4, 8, 100))
    if form == 7:
        return "".join(r.choice(SIGNS) for _ in range(r.choice((1, 1, 2, 3, 20))))
    if form == 8:
        return r.choice(CONTRACTIONS)
    if form == 9:
        return r.choice(EMOJI)
    if form == 10:
        return r.choice((anything(r), anything(r) * 5, r.choice(MARKS) * 2))
    return r.choice(("\n", "\r\n", "\n\n", " \n ", "\t\n", "/\n", "\n  "))


def mixed(r, size):
    """A str of about `size` bytes: fragments, some of them separated by spaces."""
    parts = []
    length = 0
    while length < size:
        part = fragment(r) + (" " if r.random() < 0.3 else "")
        parts.append(part)
        length += len(part.encode())
    return "".join(parts)


def spoiled(r, data):
    """Bytes in which a few are not valid UTF-8, or the end is cut."""
    data = bytearray(data)
    for _ in range(r.choice((0, 1, 1, 2, 5))):
        at = r.randint(0, len(data))
        data[at:at] = bytes(
            r.choice((0x80, 0xC0, 0xE2, 0xED, 0xF0, 0xFF, r.randrange(256)))
            for _ in range(r.randint(1, 3))
        )
    return bytes(data[: len(data) - r.choice((0, 0, 1, 2))])


def runs(size):
    """Bytes of which one thing is repeated, about `size` long each."""
    nested = "".join(str(10**k) for k in range(1, 60))
    things = [
        "a",
        " ",
        "\n",
        "0",
        "ab",
        "=",
        "é",
        "漢",
        "\u0301",
        "aA",
        "'s",
        "A",
        " \n",
        "😀",
        nested,
        "\t ",
        "Aあ",
    ]
    return [thing.encode() * (size // len(thing.encode())) for thing in things]


def random_texts(seed, count, size):
    """`count` texts of up to about `size` bytes."""
    r = random.Random(seed)
    return [mixed(r, r.randint(1, size)) for _ in range(count)]

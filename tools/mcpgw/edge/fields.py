"""Checking a TOML file against tables of fields: what is wrong is told with file, line and key.

The sections of boards (table.py) are checked so; others may have theirs checked in the same way.
"""

import difflib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from .. import UserError
from .places import places

MAX_FILE = 65536  # bytes of a TOML file

_KINDS = {
    "text": "text in quotes",
    "number": "a whole number",
    "flag": "true or false",
    "texts": "text, or a list of texts",
    "names": "a list of texts",
    "pairs": "a table of texts",
    "pin": "a pin's number, or its name in quotes",
    "tokens": "text, a list of texts, or a table of token = name",
}


@dataclass(frozen=True)
class Field:
    """One key of a section.

    kind: of _KINDS; about: what it is for, a phrase; default: what holds without it, as text for
    people; low, high: of a number, else the fewest and most bytes of each text; choices: the
    texts that are allowed; secret: hidden where it is shown; form: None or a function(text) that
    raises ValueError with what is wrong of it.
    """

    kind: str
    about: str
    default: str = ""
    low: int | None = None
    high: int | None = None
    choices: tuple = ()
    secret: bool = False
    form: object = None

    @property
    def range(self):
        """What it takes, for people."""
        if self.choices:
            several = "a list of " if self.kind == "names" else ""
            return several + ", ".join(self.choices)
        if self.kind == "number":
            return f"{self.low} to {self.high}"
        if self.kind == "flag":
            return "true or false"
        if self.kind == "pin":
            return _KINDS["pin"]
        kind = _KINDS[self.kind]
        size = self.high if self.low == self.high else f"{self.low} to {self.high}"
        return f"{kind}, {size} bytes"


class ConfigFileError(UserError):
    """A TOML file cannot be used. problems: all that is wrong, a line each."""

    def __init__(self, problems):
        self.problems = problems
        more = len(problems) - 1
        super().__init__(problems[0] + (f" (and {more} more)" if more else ""))


@dataclass
class Document:
    """A TOML file that has been read. path: as in messages; data: its content (dict)."""

    path: str
    data: dict
    lines: dict
    problems: list = field(default_factory=list)

    def problem(self, at, text):
        """Take down what is wrong at a path of keys (tuple)."""
        line = None
        while line is None and at:
            line = self.lines.get(at)
            at = at[:-1]
        self.problems.append((line or 1, f"{self.path}:{line or 1}: {text}"))

    def done(self):
        """Raise ConfigFileError if there was a problem."""
        if self.problems:
            raise ConfigFileError([text for _, text in sorted(self.problems)])


def read_document(path):
    """The Document of a TOML file. Raises ConfigFileError."""
    path = Path(path)
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_FILE + 1)
    except OSError as e:
        raise ConfigFileError([f"{path}: cannot be read: {e.strerror}"]) from None
    return parse_document(raw, str(path))


def parse_document(raw, path):
    """The same of bytes; path: what messages call it."""
    if len(raw) > MAX_FILE:
        raise ConfigFileError([f"{path}: longer than {MAX_FILE} bytes"])
    try:
        text = raw.decode()
        data = tomllib.loads(text)
        return Document(path, data, places(text.replace("\r\n", "\n")))
    except UnicodeDecodeError as e:
        line = raw.count(b"\n", 0, e.start) + 1
        raise ConfigFileError([f"{path}:{line}: not UTF-8"]) from None
    except tomllib.TOMLDecodeError as e:
        raise ConfigFileError([_no_toml(path, str(e), raw)]) from None
    except RecursionError:
        raise ConfigFileError([f"{path}: nested too deeply"]) from None
    except ValueError as e:  # a number that Python finds too long to read, an impossible date
        raise ConfigFileError([f"{path}: {e}"]) from None


def _no_toml(path, why, raw):
    """'... (at line 3, column 5)' in the form of the other messages."""
    what, _, place = why.rpartition(" (at ")
    if place.startswith("line "):
        return f"{path}:{place[5:].split(',')[0]}: {what}"
    return f"{path}:{raw.count(10) + 1}: {what or why.rstrip(')')}"


def nearest(name, known):
    """', did you mean X?' or '; known are: ...' for a name that is not among the known ones."""
    close = difflib.get_close_matches(str(name), list(known), 1, 0.6)
    if close:
        return f", did you mean {close[0]}?"
    return "; known are: " + ", ".join(known)


def check_fields(document, at, table, fields, needed=()):
    """Check one table (as TOML gave it) against {key: Field}; problems go to the document.

    at: path of the table; needed: keys that must be there. Returns the keys that are right, as a
    dict.
    """
    section = ".".join(at)
    if not isinstance(table, dict):
        document.problem(at, f"{section} is a section: write [{section}]")
        return {}
    good = {}
    for key, value in table.items():
        known = fields.get(key)
        if known is None:
            document.problem((*at, key), f"[{section}] has no key {key}{nearest(key, fields)}")
            continue
        why = wrong(known, value)
        if why:
            document.problem((*at, key), f"{key} in [{section}] {why}")
        else:
            good[key] = value
    for key in needed:
        if key not in table:
            document.problem(at, f"[{section}] needs a key {key}")
    return good


def wrong(known, value):
    """What is wrong with a value for a Field, or None. Says nothing of a secret's content."""
    kind = known.kind
    if kind == "number":
        if type(value) is not int:
            return f"must be a whole number from {known.low} to {known.high}, not {_shown(value)}"
        if not known.low <= value <= known.high:
            return f"must be from {known.low} to {known.high}, not {value}"
        return None
    if kind == "flag":
        return None if isinstance(value, bool) else f"must be true or false, not {_shown(value)}"
    if kind == "pin" and type(value) is int:
        return None if 0 <= value < 256 else f"must be from 0 to 255, not {value}"
    if kind in ("text", "pin"):
        if not isinstance(value, str):
            return f"must be {_KINDS[kind]}, not {_shown(value)}"
        return _wrong_text(known, value)
    texts = _texts(kind, value)
    if texts is None:
        return f"must be {_KINDS[kind]}, not {_shown(value)}"
    if not texts and kind != "pairs":
        return "must not be empty"
    for text in texts:
        why = _wrong_text(known, text)
        if why:
            return why
    return None


def _texts(kind, value):
    """The texts in a value that may hold several, or None for one of another form."""
    if isinstance(value, str) and kind in ("texts", "tokens"):
        return [value]
    if isinstance(value, list) and kind in ("texts", "names", "tokens"):
        return value if all(isinstance(v, str) for v in value) else None
    named = isinstance(value, dict) and kind in ("pairs", "tokens")
    if named and all(isinstance(v, str) and v for v in value.values()):
        return list(value.values() if kind == "pairs" else value)
    return None


def _wrong_text(known, text):
    told = "this text" if known.secret else repr(text)
    if known.choices:
        if text not in known.choices:
            return f"has no {told}{nearest(text, known.choices)}"
        return None
    size = len(text.encode())
    if known.high is not None and not known.low <= size <= known.high:
        return f"must have {known.low} to {known.high} bytes, not {size}"
    if any(ord(c) < 32 or c == "\x7f" for c in text):
        return "must be text in one line, without control characters"
    if known.form:
        try:
            known.form(text)
        except ValueError as e:
            return f"is wrong: {e}"
    return None


def _shown(value):
    """A kind of value, in TOML's words: what it holds may be a secret."""
    for kind, name in (
        (bool, "true or false"),
        (int, "a whole number"),
        (float, "a number with a fraction"),
        (str, "text"),
        (list, "a list"),
        (dict, "a table"),
    ):
        if isinstance(value, kind):
            return name
    return "a date"

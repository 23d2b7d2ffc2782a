"""TOML read table by table, with errors that say where: file, line, and the key that was meant.

file = read("mcp-edge.toml")
pi = file.table("pi")
port = pi.integer("port", 8750, 1, 65535)
pi.done()                                   # what nobody took is an error
file.done()
"""

import difflib
import re
from pathlib import Path

from mcp_gw.errors import ConfigError as OptionError

from . import UserError
from .edge.fields import ConfigFileError, parse_document, read_document

_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_REQUIRED = object()


class ConfigError(UserError):
    """A configuration that cannot work: FILE:LINE: [TABLE]: what is wrong."""


def read(path):
    """The Table of a whole file. Raises ConfigError."""
    if not Path(path).exists():
        raise ConfigError(f"there is no configuration {path}")
    return _table(read_document, path)


def parse(text, file):
    """The Table of TOML text. file: its name, for errors."""
    return _table(parse_document, text.encode(), file)


def _table(get, *given):
    try:
        document = get(*given)
    except ConfigFileError as e:
        raise ConfigError(str(e)) from e
    return Table(document.data, (), document.path, document.lines)


class Table:
    """One table of a file. Each method that takes a key removes it; done() complains of the
    rest."""

    def __init__(self, values, path, file, lines):
        self._values = dict(values)
        self._path = path
        self._file = file
        self._lines = lines  # of places()
        self._known = []

    def __contains__(self, key):
        return key in self._values

    def keys(self):
        """Those that nobody has taken."""
        return list(self._values)

    @property
    def name(self):
        """Its path, as it stands in brackets."""
        return ".".join(self._path)

    # What may stand in it.

    def text(self, key, default=_REQUIRED, pattern=None, what=None):
        """A str. pattern: regular expression that all of it must match; what: says so."""
        value = self._take(key, default)
        if value is default:
            return value
        if not isinstance(value, str) or not value:
            self.fail(key, "must be text")
        if pattern and not re.fullmatch(pattern, value):
            self.fail(key, what or f"{value!r} is not acceptable")
        return value

    def integer(self, key, default, low, high):
        value = self._take(key, default)
        if value is default:
            return value
        if type(value) is not int or not low <= value <= high:
            self.fail(key, f"must be a whole number from {low} to {high}")
        return value

    def number(self, key, default, low, high):
        value = self._take(key, default)
        if value is default:
            return value
        if type(value) not in (int, float) or not low <= value <= high:
            self.fail(key, f"must be a number from {low} to {high}")
        return value

    def flag(self, key, default):
        value = self._take(key, default)
        if type(value) is not bool:
            self.fail(key, "must be true or false")
        return value

    def choice(self, key, default, choices):
        value = self._take(key, default)
        if value is not default and value not in choices:
            self.fail(key, "must be one of " + ", ".join(map(str, choices)))
        return value

    def texts(self, key, default=()):
        """A list of str, as tuple; one str counts as a list of one."""
        value = self._take(key, default)
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
            self.fail(key, "must be a list of texts")
        return tuple(value)

    def pairs(self, key):
        """A table of texts, as dict."""
        value = self._take(key, {})
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            self.fail(key, "must be a table of texts")
        return dict(value)

    def secret(self, key, environment):
        """A text that may be given as "env:VARIABLE", or None."""
        value = self.text(key, None)
        return value and self.revealed(key, value, environment)

    def revealed(self, key, value, environment):
        """`value`, or what the environment variable holds that it names."""
        if not value.startswith("env:"):
            return value
        variable = value[4:]
        if not environment.get(variable):
            self.fail(key, f"${variable} is not set in the environment")
        return environment[variable]

    def table(self, key):
        """A table in it; an empty one where there is none."""
        value = self._take(key, {})
        if not isinstance(value, dict):
            self.fail(key, "must be a table")
        return Table(value, (*self._path, key), self._file, self._lines)

    def checked(self, key, check):
        """A table whose keys check(dict) knows: it returns what of it is used, and raises
        mcp_gw's ConfigError."""
        try:
            return check(self._take(key, {}))
        except OptionError as e:
            self.fail(key, str(e))

    def tables(self, key):
        """dict of name -> Table of [key.NAME]."""
        group = self.table(key)
        found = {}
        for name in list(group._values):
            if not _NAME.fullmatch(name):
                group.fail(name, "names are 1 to 32 letters, digits, - and _")
            found[name] = group.table(name)
        return found

    def only(self, known):
        """Raises ConfigError for a key that is none of these."""
        for key in self._values:
            if key not in known:
                self._unknown(key, known)

    def done(self):
        """Raises ConfigError for what nobody has taken."""
        for key in self._values:
            self._unknown(key, self._known)

    def leave(self, *keys):
        """Keys that are somebody else's business."""
        for key in keys:
            self._known.append(key)
            self._values.pop(key, None)

    def fail(self, key, why):
        """Raises ConfigError. key: of this table, a tuple of keys of one in it, or None: all of
        it."""
        keys = (key,) if isinstance(key, str) else key or ()
        line = self._line_of(keys)
        where = f"{self._file}:{line}" if line else self._file
        raise ConfigError(f"{where}: {'.'.join((*self._path, *keys))}: {why}")

    def _unknown(self, key, known):
        close = difflib.get_close_matches(key, known, 1, 0.6)
        if close:
            told = f"; did you mean {close[0]}?"
        elif known:
            told = "; known are: " + ", ".join(known)
        else:
            told = ""
        self.fail(key, "is not known here" + told)

    def _take(self, key, default):
        self._known.append(key)
        if key in self._values:
            return self._values.pop(key)
        if default is _REQUIRED:
            self.fail(None, f"{key} is missing")
        return default

    def _line_of(self, keys):
        """The number of the line where keys of this table stand, or the head of what they are in;
        0: unknown."""
        path = (*self._path, *keys)
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 0)

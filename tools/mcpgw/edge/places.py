"""In which line of a TOML text each key stands: what the standard library's reader does not tell.

Only texts that tomllib has accepted are looked at, so nothing is checked here.
"""

import tomllib

_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
_BLANK = " \t\r\n"


def places(text):
    """{path: line number from 1}: path is a tuple of keys, and of numbers for items of arrays.

    A table has the line of its header, or of the first key that made it. text: TOML that
    tomllib.loads() accepts, nested no deeper than that accepts.
    """
    reader = _Places(text)
    reader.document()
    return reader.found


class _Places:
    def __init__(self, text):
        self._text = text + "\n"
        self._at = 0
        self._line = 1
        self._counted = 0  # up to here lines are counted
        self._arrays = {}  # path of an array of tables -> number of its last table
        self.found = {}

    def document(self):
        table = ()
        while self._skip_blank():
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self):
        double = self._text.startswith("[[", self._at)
        self._at += 2 if double else 1
        line = self._here()
        path = ()
        keys = self._keys()
        for n, key in enumerate(keys):
            path += (key,)
            if double and n == len(keys) - 1:
                self._note(path, line)
                self._arrays[path] = self._arrays.get(path, -1) + 1
            if path in self._arrays:
                self._note(path, line)
                path += (self._arrays[path],)
            self._note(path, line)
        self.found[path] = line
        self._at += 2 if double else 1
        return path

    def _pair(self, table):
        line = self._here()
        path = table
        for key in self._keys():
            path += (key,)
            self._note(path, line)
        self._at += 1  # =
        self._value(path)

    def _keys(self):
        """The parts of a dotted key; what follows it is next."""
        keys = []
        while True:
            self._skip_spaces()
            text, start = self._text, self._at
            if text[start] in "\"'":
                self._string()
                keys.append(tomllib.loads("k = " + text[start : self._at])["k"])
            else:
                while text[self._at] in _BARE:
                    self._at += 1
                keys.append(text[start : self._at])
            self._skip_spaces()
            if text[self._at] != ".":
                return keys
            self._at += 1

    def _value(self, path):
        self._skip_spaces()
        first = self._text[self._at]
        if first in "\"'":
            self._string()
        elif first == "[":
            self._items(path)
        elif first == "{":
            self._members(path)
        else:
            while self._text[self._at] not in ",]}#\r\n":
                self._at += 1

    def _items(self, path):
        self._at += 1
        number = 0
        while self._skip_blank() and self._text[self._at] != "]":
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._note(path + (number,), self._here())
            self._value(path + (number,))
            number += 1
        self._at += 1

    def _members(self, path):
        self._at += 1
        while self._skip_blank() and self._text[self._at] != "}":
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._pair(path)
        self._at += 1

    def _string(self):
        text = self._text
        quote = text[self._at]
        many = text.startswith(quote * 3, self._at)
        end = quote * 3 if many else quote
        self._at += len(end)
        while not text.startswith(end, self._at):
            self._at += 2 if quote == '"' and text[self._at] == "\\" else 1
        self._at += len(end)
        while many and text[self._at] == quote:  # up to two more belong to its content
            self._at += 1

    def _skip_spaces(self):
        while self._text[self._at] in " \t":
            self._at += 1

    def _skip_blank(self):
        """Pass over blanks, line ends and comments. Returns whether anything follows."""
        text = self._text
        while self._at < len(text):
            if text[self._at] == "#":
                self._at = text.index("\n", self._at)
            elif text[self._at] not in _BLANK:
                return True
            else:
                self._at += 1
        return False

    def _here(self):
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _note(self, path, line):
        self.found.setdefault(path, line)

"""The regular expressions of JSON Schema (ECMA-262 with the u flag), alike on every port.

MicroPython's re works on bytes, knows neither {n,m} nor \\n nor \\u0041, and like CPython's may
take exponential time. This one steps through all states at once: its time is at most the length of
the text times the size of the pattern, whatever a client sends.

Not supported, refused with a ConfigError when compiled: look-around, back references, \\p{...},
flags.
"""

from array import array

from .compat import const
from .errors import ConfigError

MAX_SIZE = 1000  # instructions; x{8} counts as eight x

_CHAR = const(0)  # a: the character
_ANY = const(1)
_SET = const(2)  # a: index in _sets
_SPLIT = const(3)  # a: where else to go on
_JUMP = const(4)  # a: where to go on
_BEGIN = const(5)
_END = const(6)
_EDGE = const(7)  # \b
_NO_EDGE = const(8)
_MATCH = const(9)

_ENDS = (10, 10, 13, 13, 0x2028, 0x2029)
_DIGIT = (48, 57)
_WORD = (48, 57, 65, 90, 95, 95, 97, 122)
_SPACE = (9, 13, 32, 32, 160, 160, 0x1680, 0x1680, 0x2000, 0x200A, 0x2028, 0x2029, 0x202F, 0x202F)
_SPACE += (0x205F, 0x205F, 0x3000, 0x3000, 0xFEFF, 0xFEFF)
_CLASSES = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "0": 0}
_DIGITS = "0123456789"
_HEX = "0123456789abcdefABCDEF"

_known = {}


def compiled(text):
    """The Pattern for this text, made once; ConfigError if it cannot be checked."""
    found = _known.get(text)
    if found is None:
        found = _known[text] = Pattern(text)
    return found


class Pattern:
    """A compiled pattern. search() tells whether it occurs anywhere in a text."""

    def __init__(self, text):
        self._sets = []
        self._op = bytearray()
        self._a = array("H")
        parser = _Parser(text, self._sets)
        self._write(parser.whole())
        self._put(_MATCH)

    def _put(self, op, a=0):
        if len(self._op) >= MAX_SIZE:
            raise ConfigError("pattern: too large, its counts written out")
        self._op.append(op)
        self._a.append(a)
        return len(self._op) - 1

    def _write(self, node):
        kind = node[0]
        if kind == "all":
            for part in node[1]:
                self._write(part)
        elif kind == "any":
            jumps = []
            for part in node[1][:-1]:
                split = self._put(_SPLIT)
                self._write(part)
                jumps.append(self._put(_JUMP))
                self._a[split] = len(self._op)
            self._write(node[1][-1])
            for jump in jumps:
                self._a[jump] = len(self._op)
        elif kind == "repeat":
            _, part, least, most = node
            for _ in range(least):
                start = len(self._op)
                self._write(part)
                if len(self._op) == start:
                    return  # an empty group: once is as good as often
            if most is None:
                split = self._put(_SPLIT)
                self._write(part)
                self._put(_JUMP, split)
                self._a[split] = len(self._op)
            else:
                splits = []
                for _ in range(most - least):
                    splits.append(self._put(_SPLIT))
                    self._write(part)
                for split in splits:
                    self._a[split] = len(self._op)
        else:
            self._put(node[0], node[1])

    def search(self, text):
        """Whether the pattern matches some part of `text` (str)."""
        data = text.encode("utf-8", "surrogatepass")
        op = self._op
        a = self._a
        seen = [-1] * len(op)
        anchored = op[0] == _BEGIN
        ready = [0]
        live = []
        before = -1
        place = i = 0
        size = len(data)
        while True:
            if i >= size:
                c = -1
            else:
                c = data[i]
                i += 1
                if c >= 0x80:
                    more = 1 if c < 0xE0 else 2 if c < 0xF0 else 3
                    c &= 0x3F >> more
                    for _ in range(more):
                        c = c << 6 | data[i] & 0x3F
                        i += 1
            while ready:
                pc = ready.pop()
                if seen[pc] == place:
                    continue
                seen[pc] = place
                kind = op[pc]
                if kind <= _SET:
                    live.append(pc)
                elif kind == _SPLIT:
                    ready.append(a[pc])
                    ready.append(pc + 1)
                elif kind == _JUMP:
                    ready.append(a[pc])
                elif kind == _MATCH:
                    return True
                elif kind == _BEGIN:
                    if before < 0:
                        ready.append(pc + 1)
                elif kind == _END:
                    if c < 0:
                        ready.append(pc + 1)
                elif (_within(_WORD, before) == _within(_WORD, c)) == (kind == _NO_EDGE):
                    ready.append(pc + 1)
            if c < 0:
                return False
            while live:
                pc = live.pop()
                kind = op[pc]
                if kind == _CHAR:
                    fits = a[pc] == c
                elif kind == _ANY:
                    fits = not _within(_ENDS, c)
                else:
                    negated, ranges = self._sets[a[pc]]
                    fits = _within(ranges, c) != negated
                if fits:
                    ready.append(pc + 1)
            if not anchored:
                ready.append(0)
            elif not ready:
                return False
            before = c
            place += 1


def _within(ranges, c):
    for i in range(0, len(ranges), 2):
        if ranges[i] <= c <= ranges[i + 1]:
            return True
    return False


def _outside(ranges):
    """The ranges of all characters that are in none of `ranges` (ascending)."""
    out = []
    low = 0
    for i in range(0, len(ranges), 2):
        out += (low, ranges[i] - 1)
        low = ranges[i + 1] + 1
    return out + [low, 0x10FFFF]


class _Parser:
    """Makes a tree of a pattern's text: ("all", [nodes]), ("any", [nodes]), ("repeat", node,
    least, most or None), or (instruction, operand)."""

    def __init__(self, text, sets):
        # One str per character, so that an index is a character on every port.
        self.text = list(text)
        self.i = 0
        self.sets = sets

    def fail(self, why):
        raise ConfigError("pattern %s: %s" % ("".join(self.text), why))

    def peek(self, offset=0):
        i = self.i + offset
        return self.text[i] if i < len(self.text) else ""

    def take(self):
        c = self.peek()
        if not c:
            self.fail("it ends too soon")
        self.i += 1
        return c

    def whole(self):
        node = self.alternatives()
        if self.peek():
            self.fail("a ) without a (")
        return node

    def alternatives(self):
        parts = [self.sequence()]
        while self.peek() == "|":
            self.i += 1
            parts.append(self.sequence())
        return parts[0] if len(parts) == 1 else ("any", parts)

    def sequence(self):
        parts = []
        while self.peek() and self.peek() not in "|)":
            node = self.atom()
            if self.peek() and self.peek() in "*+?{":
                if node[0] in (_BEGIN, _END, _EDGE, _NO_EDGE):
                    self.fail("%s repeats nothing" % self.peek())
                least, most = self.count()
                node = ("repeat", node, least, most)
                if self.peek() == "?":
                    self.i += 1  # lazy: which match is found first does not matter here
            parts.append(node)
        return parts[0] if len(parts) == 1 else ("all", parts)

    def count(self):
        c = self.take()
        if c != "{":
            return (1 if c == "+" else 0), (1 if c == "?" else None)
        least = most = self.number()
        if self.peek() == ",":
            self.i += 1
            most = None if self.peek() == "}" else self.number()
        if self.take() != "}" or (most is not None and most < least):
            self.fail("{ is followed by no count; alone it is written \\{")
        return least, most

    def number(self):
        digits = ""
        while self.peek() and self.peek() in _DIGITS:
            digits += self.take()
        if not digits:
            self.fail("{ is followed by no count; alone it is written \\{")
        return min(int(digits), MAX_SIZE)

    def atom(self):
        c = self.take()
        if c == "(":
            return self.group()
        if c == "[":
            return self.chosen()
        if c == "\\":
            return self.escape()
        if c == "^":
            return (_BEGIN, 0)
        if c == "$":
            return (_END, 0)
        if c == ".":
            return (_ANY, 0)
        if c in "*+?{":
            self.fail("%s repeats nothing" % c)
        return self.literal(ord(c))

    def literal(self, code):
        return (_CHAR, code) if code < 0x10000 else self.set_of(False, (code, code))

    def set_of(self, negated, ranges):
        row = (negated, tuple(ranges))
        if row not in self.sets:
            self.sets.append(row)
        return (_SET, self.sets.index(row))

    def group(self):
        if self.peek() == "?":
            self.i += 1
            c = self.take()
            if c == "<" and self.peek() not in "=!":
                while self.take() != ">":
                    pass
            elif c != ":":
                self.fail("look-around and flags are not supported")
        node = self.alternatives()
        if self.take() != ")":
            self.fail("a ( without its )")
        # A group is repeated as one, and what is in it was checked.
        return ("all", [node])

    def escape(self):
        c = self.take()
        if c == "b":
            return (_EDGE, 0)
        if c == "B":
            return (_NO_EDGE, 0)
        if c.lower() in _CLASSES:
            return self.set_of(c.isupper(), _CLASSES[c.lower()])
        return self.literal(self.code(c))

    def code(self, c):
        """The character that a backslash and `c` stand for."""
        if c == "0" and self.peek() and self.peek() in _DIGITS:
            self.fail("octal is not supported")
        if c in _CONTROLS:
            return _CONTROLS[c]
        if c == "x":
            return self.hex(2)
        if c == "u":
            if self.peek() == "{":
                self.i += 1
                digits = ""
                while self.peek() != "}":
                    digits += self.take()
                self.i += 1
                if not 0 < len(digits) <= 6 or any(d not in _HEX for d in digits):
                    self.fail("\\u{...} takes 1 to 6 hexadecimal digits")
                code = int(digits, 16)
                if code > 0x10FFFF:
                    self.fail("no character beyond 10FFFF")
                return code
            high = self.hex(4)
            if 0xD800 <= high < 0xDC00 and self.peek() == "\\" and self.peek(1) == "u":
                self.i += 2
                low = self.hex(4)
                if not 0xDC00 <= low < 0xE000:
                    self.fail("half of a surrogate pair")
                return 0x10000 + ((high - 0xD800) << 10) + low - 0xDC00
            return high
        if c == "c":
            letter = self.take()
            if not "A" <= letter.upper() <= "Z":
                self.fail("\\c takes a letter")
            return ord(letter.upper()) & 31
        if ord(c) > 127 or c.isalpha() or c.isdigit():
            self.fail("\\%s is not supported" % c)
        return ord(c)

    def hex(self, count):
        digits = "".join([self.take() for _ in range(count)])
        if any(d not in _HEX for d in digits):
            self.fail("%d hexadecimal digits are due" % count)
        return int(digits, 16)

    def chosen(self):
        negated = self.peek() == "^"
        if negated:
            self.i += 1
        ranges = []
        while self.peek() != "]":
            low = self.member(ranges)
            high = low
            if self.peek() == "-" and self.peek(1) != "]":
                self.i += 1
                high = self.member(ranges)
                if low is None or high is None or high < low:
                    self.fail("a range from a smaller to a larger character is due")
            if low is not None:
                ranges += (low, high)
        self.i += 1
        return self.set_of(negated, ranges)

    def member(self, ranges):
        """The next character of a set, or None for a class, which is added to `ranges`."""
        c = self.take()
        if c != "\\":
            return ord(c)
        c = self.take()
        if c == "b":
            return 8
        if c.lower() not in _CLASSES:
            return self.code(c)
        found = _CLASSES[c.lower()]
        ranges += _outside(found) if c.isupper() else found
        return None

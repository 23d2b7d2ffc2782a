"""The operators of arrays.py that go element by element, and what all have in common."""

import struct

from .arrays import FLOAT, np
from .arrays_math import Scale, divided, multiply, softmax

_PIECE = 4096  # bytes of a copy between two yields


def pieces(total, most):
    """(from, to) of pieces of at most `most`."""
    return [(i, min(i + most, total)) for i in range(0, total, most)]


class Flat:
    """The operator at hand: its words `w`, its tensors x and y. Each of its methods without a _
    is a generator that yields what a piece of the work cost in MACs."""

    def __init__(self, file, arena):
        self._file = file
        self._bytes = memoryview(arena)
        self._arena = np.frombuffer(arena, dtype=np.int8)
        self._data = np.frombuffer(file.buf, dtype=np.int8)
        self._raw = np.frombuffer(file.buf, dtype=np.uint8)

    def load(self, at):
        buf = self._file.buf
        self.at = at
        count = struct.unpack_from("<H", buf, at + 2)[0]
        self.w = struct.unpack_from("<%dI" % count, buf, at)
        self.layout = buf[at + 1]
        self.x = self._file.tensor(self.w[1] & 0xFFFF)
        self.y = self._file.tensor(self.w[1] >> 16)

    def _signed(self, word):
        """The four signed bytes of a word."""
        return struct.unpack_from("<4b", self._file.buf, self.at + 4 * word)

    def _halves(self, word, count):
        return struct.unpack_from("<%dH" % count, self._file.buf, self.at + 4 * word)

    def _put(self, at, values):
        """Store whole numbers (a float array) as int8."""
        values = values.flatten()
        self._arena[at : at + len(values)] = np.array(values, dtype=np.int8)

    # Element by element: loops of four sizes, each with strides of what they go over.

    def _loops(self, word, sets):
        n = self.w[word : word + 4]
        strides = [self.w[word + 4 + 4 * k : word + 8 + 4 * k] for k in range(sets)]
        number = 0
        for a in range(n[0]):
            for b in range(n[1]):
                for c in range(n[2]):
                    offsets = [a * s[0] + b * s[1] + c * s[2] for s in strides]
                    yield number, offsets
                    number += 1

    def _line(self, at, count, stride, zero):
        """count values of the arena as floats, less the zero point."""
        if not stride:
            return np.ones(count, dtype=FLOAT) * (int(self._arena[at]) - zero)
        part = self._arena[at : at + (count - 1) * stride + 1 : stride]
        return np.array(part, dtype=FLOAT) - zero

    def _binary(self):
        """Yield (place of the result, two float arrays without their zero points)."""
        w = self.w
        other = self._file.tensor(w[2] & 0xFFFF)
        zero1, zero2, _, _ = self._signed(3)
        count, s1, s2 = w[12], w[16], w[20]
        for number, (a, b) in self._loops(9, 2):
            x1 = self._line(self.x.at + a, count, s1, zero1)
            x2 = self._line(other.at + b, count, s2, zero2)
            yield self.y.at + number * count, x1, x2

    def add(self):
        """ADD and SUB."""
        buf = self._file.buf
        sign = 1 if buf[self.at] == 6 else -1
        _, _, zero, _ = self._signed(3)
        low, high, _, _ = self._signed(4)
        m1, m2, m = struct.unpack_from("<3i", buf, self.at + 20)
        shift1, shift2, shift, left = self._signed(8)
        scale = Scale((0,), (m,), (shift,), zero, low, high, 1)
        f1 = _factor(m1, shift1 + left)
        f2 = _factor(m2, shift2 + left)
        # Either term is up to one off, and as precise as a float of its size.
        loose = (255 * (abs(f1) + abs(f2)) / (1 << 22) + 2) * scale.factor
        for at, x1, x2 in self._binary():

            def exactly(i, x1=x1, x2=x2):
                v1 = multiply(int(x1[i]) << left, m1, shift1)
                v2 = multiply(int(x2[i]) << left, m2, shift2)
                return v1 + sign * v2

            self._put(at, scale.near(x1 * f1 + x2 * (f2 * sign), exactly, loose))
            yield 8 * len(x1)

    def mul(self):
        buf = self._file.buf
        _, _, zero, _ = self._signed(3)
        low, high, _, _ = self._signed(4)
        m = struct.unpack_from("<i", buf, self.at + 28)[0]
        scale = Scale((0,), (m,), (self._signed(8)[2],), zero, low, high, 4)
        for at, x1, x2 in self._binary():
            product = x1 * x2
            self._put(at, scale.near(product, lambda i, p=product: int(p[i]), 0))
            yield 8 * len(x1)

    def copy(self):
        w = self.w
        buf = self._file.buf
        table = bytes(buf[w[2] : w[2] + 256]) if w[2] else None
        count, sx, sy = w[8], w[12], w[16]
        data = self._bytes
        for _, (a, b) in self._loops(5, 2):
            x = self.x.at + w[3] + a
            y = self.y.at + w[4] + b
            if table is None:
                x_end, y_end = x + (count - 1) * sx + 1, y + (count - 1) * sy + 1
                if sx and sy:
                    self._arena[y:y_end:sy] = self._arena[x:x_end:sx]
                else:
                    for i in range(count):
                        data[y + i * sy] = data[x + i * sx]
            elif sx == sy == 1 and hasattr(table, "translate"):
                data[y : y + count] = bytes(data[x : x + count]).translate(table)
            else:
                for i in range(count):
                    data[y + i * sy] = table[data[x + i * sx]]
            yield count

    def fill(self):
        at = self.y.at
        size = self.y.size
        line = bytes((self.w[2] & 0xFF,)) * min(size, _PIECE)
        for low, high in pieces(size, _PIECE):
            self._bytes[at + low : at + high] = line[: high - low]
            yield high - low

    def load_constant(self):
        at = self.y.at
        first = self.w[2]
        for low, high in pieces(self.y.size, _PIECE):
            self._bytes[at + low : at + high] = self._file.buf[first + low : first + high]
            yield high - low

    # In Python's integers.

    def softmax(self):
        depth = self.w[3]
        buf = self._file.buf
        exp = struct.unpack_from("<256i", buf, self.w[2])
        for at in range(0, self.x.size, depth):
            x = self._arena[self.x.at + at : self.x.at + at + depth].tolist()
            out = bytes([v & 0xFF for v in softmax(x, exp)])
            self._bytes[self.y.at + at : self.y.at + at + depth] = out
            yield 16 * depth

    def mean(self):
        w = self.w
        threshold = struct.unpack_from("<255i", self._file.buf, w[2])
        kept = w[3:11]
        inner = [off[0] for _, off in self._loops(11, 1)]
        count, stride = w[14], w[18]
        cost = len(inner) * count + 16
        element = 0
        for _, (base,) in self._loops(3, 1):
            for k in range(kept[3]):
                total = 0
                for offset in inner:
                    at = self.x.at + base + k * kept[7] + offset
                    if stride:
                        part = self._arena[at : at + (count - 1) * stride + 1 : stride]
                        total += sum(part.tolist())
                    else:
                        total += int(self._arena[at]) * count
                reached = 0
                while reached < 255 and total >= threshold[reached]:
                    reached += 1
                self._bytes[self.y.at + element] = (reached - 128) & 0xFF
                element += 1
                yield cost

    def dequantise(self):
        table = bytes(self._file.buf[self.w[2] : self.w[2] + 1024])
        data = self._bytes
        x, y = self.x.at, self.y.at
        for low, high in pieces(self.x.size, 64):
            for i in range(low, high):
                v = 4 * data[x + i]
                data[y + 4 * i : y + 4 * i + 4] = table[v : v + 4]
            yield high - low

    def quantise(self):
        scale, zero = struct.unpack_from("<Ii", self._file.buf, self.at + 8)
        low = 0 if self.y.type == 1 else -128
        for first, last in pieces(self.y.size, 64):
            bits = struct.unpack_from("<%dI" % (last - first), self._bytes, self.x.at + 4 * first)
            for i in range(first, last):
                v = divided(bits[i - first], scale) + zero
                self._bytes[self.y.at + i] = min(max(v, low), low + 255) & 0xFF
            yield 32 * (last - first)


def _factor(multiplier, shift):
    return multiplier * 2.0 ** (shift - 31)

"""The operators of arrays.py, each a generator that yields what a piece of its work cost in MACs.

A result is first computed in float32: right but for the last bits. Where those could decide which
integer it rounds to, and only there, it is computed again in Python's integers, as the reference
does.
"""

import struct

from .arrays import FLOAT, np
from .arrays_math import Scale, divided, multiply, softmax

_DEPTH = 1024  # products of int8 that sum up exactly in float32
_PIECE = 4096  # bytes of a copy between two yields


def run(file, arena):
    """Generator over one run."""
    work = _Work(file, arena)
    table = (
        None,
        work.fully_connected,
        work.conv,
        work.depthwise,
        work.average_pool,
        work.max_pool,
        work.add,
        work.add,
        work.mul,
        work.copy,
        work.fill,
        work.softmax,
        work.mean,
        work.dequantise,
        work.quantise,
        work.load_constant,
    )
    for at in file.operators():
        work.load(at)
        for cost in table[file.buf[at]]():
            yield cost


def _pieces(total, most):
    """(from, to) of pieces of at most `most`."""
    return [(i, min(i + most, total)) for i in range(0, total, most)]


def _taps(count, channels):
    """Lists of (tap, from channel, to channel, column) of at most 1024 columns each."""
    groups = [[]]
    column = 0
    for tap in range(count):
        for low, high in _pieces(channels, _DEPTH):
            if column + high - low > _DEPTH:
                groups.append([])
                column = 0
            groups[-1].append((tap, low, high, column))
            column += high - low
    return groups


def _reach(tap, stride, pad, size, out):
    """(first output, first input, outputs) that see the image through a tap at `tap` (dilated)."""
    first = max(0, -((tap - pad) // stride)) if tap < pad else 0
    last = min(out, (size - 1 + pad - tap) // stride + 1) if size + pad > tap else 0
    return first, first * stride - pad + tap, max(0, last - first)


class _Work:
    """The operator at hand: its words `w`, its tensors x and y."""

    def __init__(self, file, arena):
        self._file = file
        self._bytes = memoryview(arena)
        self._arena = np.frombuffer(arena, dtype=np.int8)
        self._data = np.frombuffer(file.buf, dtype=np.int8)

    def load(self, at):
        buf = self._file.buf
        self.at = at
        count = struct.unpack_from("<H", buf, at + 2)[0]
        self.w = struct.unpack_from("<%dI" % count, buf, at)
        self.x = self._file.tensor(self.w[1] & 0xFFFF)
        self.y = self._file.tensor(self.w[1] >> 16)

    def _signed(self, word):
        """The four signed bytes of a word."""
        return struct.unpack_from("<4b", self._file.buf, self.at + 4 * word)

    def _halves(self, word, count):
        return struct.unpack_from("<%dH" % count, self._file.buf, self.at + 4 * word)

    def _rows(self, at, rows, columns):
        """Values of the arena from byte `at` on, as a matrix."""
        return self._arena[at : at + rows * columns].reshape((rows, columns))

    def _put(self, at, values):
        """Store whole numbers (a float array) as int8."""
        values = values.flatten()
        self._arena[at : at + len(values)] = np.array(values, dtype=np.int8)

    def _matrix(self, at, rows, columns):
        """Weights, as they lie in the file."""
        return self._data[at : at + rows * columns].reshape((rows, columns))

    def _scale(self, channels, depth):
        w = self.w
        buf = self._file.buf
        x_zero, zero, low, high = self._signed(6)
        bias = struct.unpack_from("<%di" % channels, buf, w[3])
        count = 1 if w[9] & 1 else channels
        multipliers = struct.unpack_from("<%di" % count, buf, w[4])
        shifts = struct.unpack_from("<%db" % count, buf, w[5])
        if count == 1:
            multipliers *= channels
            shifts *= channels
        return x_zero, Scale(bias, multipliers, shifts, zero, low, high, depth)

    # Sums of products.

    def fully_connected(self):
        channels = self.y.dims[-1] if self.y.dims else 1
        batches = self.y.size // channels
        depth = self.x.size // batches
        _, scale = self._scale(channels, depth)
        x = np.array(self._rows(self.x.at, batches, depth), dtype=FLOAT)
        weights = self._matrix(self.w[2], channels, depth)
        for low, high in _pieces(channels, 16):
            sums = []
            for a, b in _pieces(depth, _DEPTH):
                sums.append(np.dot(x[:, a:b], weights[low:high, a:b].transpose()))
            out = scale.of(sums, low, high)
            for batch in range(batches):
                self._put(self.y.at + batch * channels + low, out[batch, :])
            yield (high - low) * depth * batches

    def _window(self):
        """Sizes of a convolution."""
        return self._halves(10, 8)

    def conv(self):
        batches, in_h, in_w, in_c = self.x.dims
        _, out_h, out_w, out_c = self.y.dims
        kernel_h, kernel_w, stride_h, stride_w, dil_h, dil_w, top, left = self._window()
        depth = kernel_h * kernel_w * in_c
        x_zero, scale = self._scale(out_c, depth)
        weights = self._matrix(self.w[2], out_c, depth)
        groups = _taps(kernel_h * kernel_w, in_c)
        for row in range(batches * out_h):
            image = self.x.at + row // out_h * in_h * in_w * in_c
            sums = []
            for group in groups:
                columns = group[-1][3] + group[-1][2] - group[-1][1]
                seen = np.ones((out_w, columns), dtype=FLOAT) * x_zero
                for tap, low, high, column in group:
                    y = row % out_h * stride_h - top + tap // kernel_w * dil_h
                    if not 0 <= y < in_h:
                        continue
                    at = tap % kernel_w * dil_w
                    first, start, n = _reach(at, stride_w, left, in_w, out_w)
                    if n:
                        line = self._rows(image + y * in_w * in_c, in_w, in_c)
                        end = start + (n - 1) * stride_w + 1
                        part = line[start:end:stride_w, low:high]
                        seen[first : first + n, column : column + high - low] = part
                begin = group[0][0] * in_c + group[0][1]
                sums.append(np.dot(seen, weights[:, begin : begin + columns].transpose()))
            self._put(self.y.at + row * out_w * out_c, scale.of(sums, 0, out_c))
            yield out_w * out_c * depth

    def depthwise(self):
        batches, in_h, in_w, in_c = self.x.dims
        _, out_h, out_w, out_c = self.y.dims
        kernel_h, kernel_w, stride_h, stride_w, dil_h, dil_w, top, left = self._window()
        times = out_c // in_c
        depth = kernel_h * kernel_w
        x_zero, scale = self._scale(out_c, depth)
        weights = self._matrix(self.w[2], depth, out_c)
        for row in range(batches * out_h):
            image = self.x.at + row // out_h * in_h * in_w * in_c
            sums = []
            for a, b in _pieces(depth, _DEPTH):
                total = np.zeros((out_w, out_c), dtype=FLOAT)
                for tap in range(a, b):
                    seen = np.ones((out_w, out_c), dtype=FLOAT) * x_zero
                    y = row % out_h * stride_h - top + tap // kernel_w * dil_h
                    at = tap % kernel_w * dil_w
                    first, start, n = _reach(at, stride_w, left, in_w, out_w)
                    if n and 0 <= y < in_h:
                        line = self._rows(image + y * in_w * in_c, in_w, in_c)
                        part = line[start : start + (n - 1) * stride_w + 1 : stride_w, :]
                        for i in range(times):
                            seen[first : first + n, i:out_c:times] = part
                    total = total + seen * weights[tap, :]
                sums.append(total)
            self._put(self.y.at + row * out_w * out_c, scale.of(sums, 0, out_c))
            yield out_w * out_c * depth

    # Pools.

    def average_pool(self):
        return self._pool(False)

    def max_pool(self):
        return self._pool(True)

    def _pool(self, biggest):
        batches, in_h, in_w, channels = self.x.dims
        _, out_h, out_w, _ = self.y.dims
        kernel_h, kernel_w, stride_h, stride_w, top, left = self._halves(3, 6)
        _, _, low, high = self._signed(2)
        for row in range(batches * out_h):
            image = self.x.at + row // out_h * in_h * in_w * channels
            y0 = row % out_h * stride_h - top
            out = np.zeros((out_w, channels), dtype=FLOAT)
            for ox in range(out_w):
                x0 = ox * stride_w - left
                first, last = max(x0, 0), min(x0 + kernel_w, in_w)
                total = None
                count = 0
                for y in range(max(y0, 0), min(y0 + kernel_h, in_h)):
                    for x in range(first, last):
                        at = image + (y * in_w + x) * channels
                        seen = np.array(self._arena[at : at + channels], dtype=FLOAT)
                        count += 1
                        if total is None:
                            total = seen
                        else:
                            total = np.maximum(total, seen) if biggest else total + seen
                if total is None:
                    total = np.ones(channels, dtype=FLOAT) * (-128 if biggest else 0)
                elif not biggest:
                    # Half away from zero; sums stay far below where a float's quotient could reach
                    # the next whole number.
                    size = np.floor((abs(total) + count // 2) * 1.0 / count)
                    total = np.where(total < 0, -size, size)
                out[ox, :] = total
            self._put(self.y.at + row * out_w * channels, np.clip(out, low, high))
            yield kernel_h * kernel_w * out_w * channels

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
        for low, high in _pieces(size, _PIECE):
            self._bytes[at + low : at + high] = line[: high - low]
            yield high - low

    def load_constant(self):
        at = self.y.at
        first = self.w[2]
        for low, high in _pieces(self.y.size, _PIECE):
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
        for low, high in _pieces(self.x.size, 64):
            for i in range(low, high):
                v = 4 * data[x + i]
                data[y + 4 * i : y + 4 * i + 4] = table[v : v + 4]
            yield high - low

    def quantise(self):
        scale, zero = struct.unpack_from("<Ii", self._file.buf, self.at + 8)
        low = 0 if self.y.type == 1 else -128
        for first, last in _pieces(self.y.size, 64):
            bits = struct.unpack_from("<%dI" % (last - first), self._bytes, self.x.at + 4 * first)
            for i in range(first, last):
                v = divided(bits[i - first], scale) + zero
                self._bytes[self.y.at + i] = min(max(v, low), low + 255) & 0xFF
            yield 32 * (last - first)


def _factor(multiplier, shift):
    return multiplier * 2.0 ** (shift - 31)

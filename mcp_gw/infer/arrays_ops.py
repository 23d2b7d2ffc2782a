"""The operators of arrays.py, each a generator that yields what a piece of its work cost in MACs.

A result is first computed in float32: right but for the last bits. Where those could decide which
integer it rounds to, and only there, it is computed again in Python's integers, as the reference
does.
"""

import struct

from .arrays import FLOAT, np
from .arrays_flat import Flat, pieces
from .arrays_math import Scale

_DEPTH = 1024  # products of int8 that sum up exactly in float32


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


def _taps(count, channels):
    """Lists of (tap, from channel, to channel, column) of at most 1024 columns each."""
    groups = [[]]
    column = 0
    for tap in range(count):
        for low, high in pieces(channels, _DEPTH):
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


class _Work(Flat):
    """The operator at hand: its words `w`, its tensors x and y."""

    def _rows(self, at, rows, columns):
        """Values of the arena from byte `at` on, as a matrix."""
        return self._arena[at : at + rows * columns].reshape((rows, columns))

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
        weights = self._fours if self.layout else self._plain
        for low, high in pieces(channels, 4 if self.layout else 16):
            sums = []
            for a, b in pieces(depth, _DEPTH):
                sums.append(np.dot(x[:, a:b], weights(low, high, channels, depth)[a:b, :]))
            out = scale.of(sums, low, high)
            for batch in range(batches):
                self._put(self.y.at + batch * channels + low, out[batch, :])
            yield (high - low) * depth * batches

    def _plain(self, low, high, channels, depth):
        """Weights of some channels, one in each column."""
        at = self.w[2] + low * depth
        return self._matrix(at, high - low, depth).transpose()

    def _fours(self, low, high, channels, depth):
        """The same from the layout that has four channels side by side, 128 too large."""
        fours = (channels + 3) // 4
        places = (depth + 1) & ~1
        lists = fours * struct.unpack_from("<I", self._file.buf, self.w[2])[0]
        at = self.w[2] + 4 + ((lists + 3) & ~3) + low * places
        four = self._raw[at : at + 4 * places].reshape((places, 4))
        return np.array(four[:depth, : high - low], dtype=FLOAT) - 128

    def _window(self):
        """Sizes of a convolution."""
        return self._halves(10, 8)

    def conv(self):
        batches, in_h, in_w, in_c = self.x.dims
        _, out_h, out_w, out_c = self.y.dims
        kernel_h, kernel_w, stride_h, stride_w, dil_h, dil_w, top, left = self._window()
        depth = kernel_h * kernel_w * in_c
        x_zero, scale = self._scale(out_c, depth)
        weights = self._matrix(self.w[2], out_c, (depth + 3) & ~3 if self.layout else depth)
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
        if self.layout:
            weights = self._matrix(self.w[2], out_c, depth).transpose()
        else:
            weights = self._matrix(self.w[2], depth, out_c)
        for row in range(batches * out_h):
            image = self.x.at + row // out_h * in_h * in_w * in_c
            sums = []
            for a, b in pieces(depth, _DEPTH):
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

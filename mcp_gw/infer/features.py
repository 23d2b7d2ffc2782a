"""Spectra of sensor samples in whole numbers: what a model or a threshold looks at in place of
them.

All of it is Python over small integers, no float and no allocation within the loops: 256 samples
take an RP2040 as long as docs/models.md says. `steps()` of each class is a generator that pauses
now and then, so that others can work meanwhile.
"""

import math
from array import array

from ..compat import const

_ONE = const(8192)  # 1.0 of twiddle factors: products stay below 2**30, a small int on every board
_LIMIT = const(16384)


class Spectrum:
    """The power spectrum of n real samples (n: a power of 2, 8 to 4096), Hann-windowed.

    of(samples) gives n // 2 + 1 whole numbers; number k stands for k * rate / n Hz. They are the
    squared magnitudes of the FFT's bins, divided by 4 ** exponent: `exponent` differs from call to
    call, since the arithmetic keeps 15 bits (block floating point).
    """

    def __init__(self, n, windowed=True):
        if n < 8 or n > 4096 or n & (n - 1):
            raise ValueError("a spectrum has a power of 2 of samples, 8 to 4096, not %d" % n)
        self.n = n
        self.exponent = 0
        turn = 2 * math.pi / n
        self._cos = array("h", [_rounded(_ONE * math.cos(turn * i)) for i in range(n // 2)])
        self._sin = array("h", [-_rounded(_ONE * math.sin(turn * i)) for i in range(n // 2)])
        self._re = [0] * n
        self._im = [0] * n
        self._windowed = windowed

    def of(self, samples):
        """List of n // 2 + 1 whole numbers. samples: n numbers; floats are rounded."""
        steps = self.steps(samples)
        while True:
            try:
                next(steps)
            except StopIteration as e:
                return e.value

    def steps(self, samples):
        """Generator that returns what of() does."""
        n = self.n
        if len(samples) != n:
            raise ValueError("%d samples for a spectrum of %d" % (len(samples), n))
        yield from self._take(samples)
        yield from self._transform()
        re, im = self._re, self._im
        out = []
        for k in range(n // 2 + 1):
            a = re[k] >> 1
            b = im[k] >> 1
            out.append(a * a + b * b)
        return out

    def _take(self, samples):
        """Window the samples and put them where bit-reversed order has them, scaled to 15 bits."""
        n = self.n
        re, im, cos = self._re, self._im, self._cos
        mean = _rounded(sum(samples) / n)
        top = 1
        for i in range(n):
            value = _rounded(samples[i]) - mean
            if value > top or -value > top:
                top = abs(value)
            re[i] = value
            im[i] = 0
        shift = 0  # to the left
        while top << shift < _LIMIT // 2:
            shift += 1
        while shift <= 0 and top >> -shift >= _LIMIT:
            shift -= 1
        self.exponent = -shift
        half = n // 2
        half_bit = (1 << -shift) >> 1 if shift < 0 else 0
        for i in range(n):
            value = re[i]
            value = value << shift if shift >= 0 else (value + half_bit) >> -shift
            if self._windowed:
                # Hann: (1 - cos) / 2
                c = cos[i] if i < half else -cos[i - half]
                value = (value * (_ONE - c) + 8192) >> 14
            re[i] = value
        yield
        j = 0
        for i in range(1, n):
            bit = half
            while j & bit:
                j ^= bit
                bit >>= 1
            j |= bit
            if i < j:
                re[i], re[j] = re[j], re[i]
        yield

    def _transform(self):
        n = self.n
        re, im, cos, sin = self._re, self._im, self._cos, self._sin
        size = 2
        while size <= n:
            self._scale()
            half = size >> 1
            turn = n // size
            # k = 0: the factor is 1.
            for i in range(0, n, size):
                j = i + half
                a = re[i]
                b = re[j]
                re[i] = a + b
                re[j] = a - b
                a = im[i]
                b = im[j]
                im[i] = a + b
                im[j] = a - b
            yield
            for k in range(1, half):
                c = cos[k * turn]
                s = sin[k * turn]
                for i in range(k, n, size):
                    j = i + half
                    a = re[j]
                    b = im[j]
                    x = (c * a - s * b + 4096) >> 13
                    y = (c * b + s * a + 4096) >> 13
                    a = re[i]
                    b = im[i]
                    re[i] = a + x
                    im[i] = b + y
                    re[j] = a - x
                    im[j] = b - y
                if not k & 7:
                    yield
            size <<= 1

    def _scale(self):
        """Keep values below 2**14, so that a stage cannot make them leave 2**15.5."""
        re, im = self._re, self._im
        top = max(max(re), -min(re), max(im), -min(im))
        shift = 0
        while top >> shift >= _LIMIT:
            shift += 1
        if shift:
            half = 1 << (shift - 1)
            for i in range(self.n):
                re[i] = (re[i] + half) >> shift
                im[i] = (im[i] + half) >> shift
            self.exponent += shift


class LogMel:
    """Energies of `bands` mel-spaced, triangular bands of a spectrum, as 256 * log2: whole
    numbers.

    n: samples of a window; rate: samples per second; low, high: Hz of the lowest and the highest
    band's outer edges (default: up to half the rate). HTK's mel scale: 2595 log10(1 + f / 700).
    """

    def __init__(self, n, rate, bands, low=20, high=None):
        self.spectrum = Spectrum(n)
        high = high or rate / 2
        if not 0 <= low < high <= rate / 2:
            raise ValueError("bands lie between 0 and half the rate")
        first, last = _mel(low), _mel(high)
        edges = []
        for i in range(bands + 2):
            hertz = 700 * (10 ** ((first + (last - first) * i / (bands + 1)) / 2595) - 1)
            edges.append(_rounded(hertz * n * 16 / rate))  # bins, in sixteenths
        self._edges = array("h", edges)
        self.bands = bands

    def of(self, samples):
        """List of `bands` whole numbers: 256 * log2(1 + energy of the band)."""
        steps = self.steps(samples)
        while True:
            try:
                next(steps)
            except StopIteration as e:
                return e.value

    def steps(self, samples):
        """Generator that returns what of() does."""
        power = yield from self.spectrum.steps(samples)
        # Bins are in units of 4 ** exponent / 4: 2 in the logarithm's terms for each.
        more = 512 * (self.spectrum.exponent + 1)
        out = []
        for band in range(self.bands):
            energy = self._energy(power, band)
            out.append(max(0, log2(energy) - 2048 + more) if energy else 0)
            if not band & 7:
                yield
        return out

    def _energy(self, power, band):
        """256 times the energy of a band; it has at least the bin nearest to its middle."""
        low, middle, high = self._edges[band : band + 3]
        energy = 0
        for k in range((low >> 4) + 1, min((high + 15) >> 4, len(power))):
            at = k << 4
            if at <= middle:
                weight = ((at - low) << 8) // max(middle - low, 1)
            else:
                weight = ((high - at) << 8) // max(high - middle, 1)
            energy += power[k] * weight
        return energy or power[min((middle + 8) >> 4, len(power) - 1)] << 8


def log2(value):
    """256 * log2(value) of a whole number > 0, at most 3.5 off."""
    bits = -1
    rest = value
    while rest:
        rest >>= 1
        bits += 1
    part = (value << 8) >> bits  # 256 to 511
    x = part - 256
    # log2(1 + x) = x + 0.35 x (1 - x), within 0.009
    return (bits << 8) + x + ((x * (256 - x) * 90 + 32768) >> 16)


def _mel(hertz):
    return 2595 * math.log10(1 + hertz / 700)


def _rounded(value):
    """The nearest whole number."""
    return value if isinstance(value, int) else int(value + 0.5 if value >= 0 else value - 0.5)

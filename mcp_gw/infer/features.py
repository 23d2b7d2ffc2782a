"""Spectra of sensor samples in whole numbers: what a model or a threshold looks at in place of
them.

The inner loops are compiled to machine code when they are first used on a board whose MicroPython
has the viper emitter, and are plain Python elsewhere: the same text, the same numbers.
docs/models.md says how long they take. `steps()` of each class is a generator that pauses now and
then, so that others can work meanwhile.
"""

import math
import sys
from array import array

from ..compat import const

_ONE = const(8192)  # 1.0 of twiddle factors: products stay below 2**30, a small int on every board
_LIMIT = const(16384)

# In the part of Python that viper compiles. re, im: array("i"); cos, sin: array("h").
_LOOPS = """
def window(re, cos, n: int, shift: int, half_bit: int, hann: int):
    r = ptr32(re)
    c = ptr16(cos)
    half = n >> 1
    i = 0
    while i < n:
        v = int(r[i])
        if shift >= 0:
            v = v << shift
        else:
            v = (v + half_bit) >> (0 - shift)
        if hann:
            f = int(c[i]) if i < half else int(c[i - half])
            if f > 32767:
                f -= 65536
            if i >= half:
                f = 0 - f
            v = (v * (8192 - f) + 8192) >> 14
        r[i] = v
        i += 1


def order(re, n: int):
    r = ptr32(re)
    i = 1
    j = 0
    while i < n:
        bit = n >> 1
        while j & bit:
            j ^= bit
            bit >>= 1
        j |= bit
        if i < j:
            v = int(r[i])
            r[i] = int(r[j])
            r[j] = v
        i += 1


def shifted(re, im, n: int, shift: int):
    r = ptr32(re)
    m = ptr32(im)
    half = (1 << shift) >> 1
    i = 0
    while i < n:
        r[i] = (int(r[i]) + half) >> shift
        m[i] = (int(m[i]) + half) >> shift
        i += 1


def stage(re, im, cos, sin, n: int, size: int) -> int:
    r = ptr32(re)
    m = ptr32(im)
    co = ptr16(cos)
    si = ptr16(sin)
    half = size >> 1
    turn = n // size
    top = 0
    k = 0
    while k < half:
        c = int(co[k * turn])
        s = int(si[k * turn])
        if c > 32767:
            c -= 65536
        if s > 32767:
            s -= 65536
        i = k
        while i < n:
            j = i + half
            a = int(r[j])
            b = int(m[j])
            x = (c * a - s * b + 4096) >> 13
            y = (c * b + s * a + 4096) >> 13
            a = int(r[i])
            b = int(m[i])
            r[i] = a + x
            m[i] = b + y
            r[j] = a - x
            m[j] = b - y
            # What the largest value is made of: at least its upper bits.
            a = a if a >= 0 else 0 - a
            b = b if b >= 0 else 0 - b
            x = x if x >= 0 else 0 - x
            y = y if y >= 0 else 0 - y
            top |= (a + x) | (b + y)
            i += size
        k += 1
    return top


def power(re, im, n: int):
    r = ptr32(re)
    m = ptr32(im)
    i = 0
    while i < n:
        a = int(r[i]) >> 1
        b = int(m[i]) >> 1
        r[i] = a * a + b * b
        i += 1
"""
_NAMES = ("window", "order", "shifted", "stage", "power")
_loops = None


def _compiled():
    """The functions of _LOOPS by name."""
    global _loops
    if _loops is None:
        found = {}
        # On 64 bits, viper's 32-bit loads have no sign.
        if sys.maxsize < 1 << 32:
            try:
                import micropython

                found["micropython"] = micropython
                exec(_LOOPS.replace("def ", "@micropython.viper\ndef "), found)
            except (ImportError, SyntaxError):  # this firmware has no emitter
                found = {}
        if not found:
            found["ptr32"] = found["ptr16"] = lambda values: values
            exec(_LOOPS, found)
        _loops = {name: found[name] for name in _NAMES}
    return _loops


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
        self._re = array("i", [0] * n)
        self._im = array("i", [0] * n)
        self._windowed = windowed
        self._loops = _compiled()

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
        re, im, cos, loops = self._re, self._im, self._cos, self._loops
        mean = _rounded(sum(samples) / n)
        top = 1
        for i in range(n):
            value = _rounded(samples[i]) - mean
            if value > top or -value > top:
                top = abs(value)
            re[i] = value
            im[i] = 0
            if not i & 63:
                yield
        shift = 0  # to the left
        while top << shift < _LIMIT // 2:
            shift += 1
        while shift <= 0 and top >> -shift >= _LIMIT:
            shift -= 1
        self.exponent = -shift
        half_bit = (1 << -shift) >> 1 if shift < 0 else 0
        loops["window"](re, cos, n, shift, half_bit, self._windowed)
        loops["order"](re, n)
        yield
        top = _LIMIT - 1
        size = 2
        while size <= n:
            # Kept below 2**14, values cannot leave 2**15.5 in a stage.
            shift = 0
            while top >> shift >= _LIMIT:
                shift += 1
            if shift:
                loops["shifted"](re, im, n, shift)
                self.exponent += shift
            top = loops["stage"](re, im, cos, self._sin, n, size)
            size <<= 1
            yield
        loops["power"](re, im, n)
        return list(re[: n // 2 + 1])


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

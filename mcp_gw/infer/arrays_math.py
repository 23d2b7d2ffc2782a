"""The reference's fixed-point arithmetic in Python's integers, and a float32 short cut to it."""

from .arrays import FLOAT, np

_INT32 = 1 << 31


def multiply(x, multiplier, shift):
    """x * multiplier / 2**31 * 2**shift with the reference's double rounding: gemmlowp's
    SaturatingRoundingDoublingHighMul, then RoundingDivideByPOT."""
    if shift > 0:
        x <<= shift
    return divide_pot(high_mul(x, multiplier), -shift if shift < 0 else 0)


def high_mul(a, b):
    """a * b / 2**31, ties up."""
    return (a * b + (1 << 30)) >> 31


def divide_pot(x, exponent):
    """x / 2**exponent, ties away from zero."""
    mask = (1 << exponent) - 1
    return (x >> exponent) + ((x & mask) > (mask >> 1) + (x < 0))


class Scale:
    """Accumulators to int8: clip(zero + multiply(acc + bias)), for several channels.

    bias, multipliers, shifts: one for each channel; depth: how many products a sum has at most.
    """

    def __init__(self, bias, multipliers, shifts, zero, low, high, depth):
        self._bias = bias
        self._multipliers = multipliers
        self._shifts = shifts
        self._zero = zero
        self._low = low
        self._high = high
        # Whether sum and bias together are exact in a float32.
        self._plain = depth * 16384 + max(max(bias), -min(bias)) < 1 << 24
        factors = [m * 2.0 ** (shifts[i] - 31) for i, m in enumerate(multipliers)]
        self.factor = factors[0]
        self._factors = np.array(factors, dtype=FLOAT)
        # How near to a half a result must not be for the short cut: the first rounding is half a
        # unit before the second, and float32 arithmetic up to 512 is good to 2**-12.
        margins = [(2.0 ** (s - 1) if s < 0 else 0.0) + 1 / 4096 for s in shifts]
        self._limits = np.array([0.5 - m for m in margins], dtype=FLOAT)

    def of(self, sums, low, high):
        """Results for channels low <= c < high. sums: list of matrices (positions, channels),
        whose sum is the accumulator. Returns a float matrix of whole numbers."""
        bias = self._bias[low:high]
        acc = None
        if self._plain:
            acc = sums[0] + np.array(bias, dtype=FLOAT)
            for more in sums[1:]:
                acc = acc + more
            about = acc
        else:
            upper = np.array([b >> 12 for b in bias], dtype=FLOAT)
            lower = np.array([b & 4095 for b in bias], dtype=FLOAT)
            for part in sums:
                top = np.floor(part * (1 / 4096))
                upper = upper + top
                lower = lower + (part - top * 4096)
            about = upper * 4096 + lower
        about = about * self._factors[low:high]
        out = np.floor(about + 0.5)
        # Far beyond the range, floats are too coarse, and it does not matter.
        near = abs(np.clip(about - out, -1, 1)) > self._limits[low:high]
        if np.any(near):
            rows, columns = np.nonzero(near)
            for k in range(len(rows)):
                i, c = int(rows[k]), int(columns[k])
                if abs(about[i, c]) < 1024:
                    if acc is None:
                        exact = int(upper[i, c]) * 4096 + int(lower[i, c])
                    else:
                        exact = int(acc[i, c])
                    shift = self._shifts[low + c]
                    out[i, c] = multiply(exact, self._multipliers[low + c], shift)
        return np.clip(out + self._zero, self._low, self._high)

    def near(self, values, exactly, loose):
        """Results for a float array, all of channel 0. exactly(i): the accumulator behind value
        i, a Python integer; loose: how far off a product may be, beside what floats do."""
        about = values * self.factor
        out = np.floor(about + 0.5)
        near = abs(np.clip(about - out, -1, 1)) > float(self._limits[0]) - loose
        if np.any(near):
            for k in np.nonzero(near)[0]:
                i = int(k)
                if abs(about[i]) < 1024:
                    out[i] = multiply(exactly(i), self._multipliers[0], self._shifts[0])
        return np.clip(out + self._zero, self._low, self._high)


# Softmax.


def _half_sum(a, b):
    total = a + b
    return (total + 1) >> 1 if total >= 0 else -((1 - total) >> 1)


def _saturated(x, shift):
    return min(max(x << shift, -_INT32), _INT32 - 1)


def _one_over_one_plus(x):
    """1 / (1 + x), 0 <= x < 1 in Q0.31: three of Newton's steps, as the reference takes them."""
    half = _half_sum(x, _INT32 - 1)
    v = 1515870810 + high_mul(half, -1010580540)
    for _ in range(3):
        rest = (1 << 29) - high_mul(v, half)
        v += _saturated(high_mul(v, rest), 2)
    return _saturated(v, 1)


def softmax(row, exp):
    """int8 results (a list) for a row. exp[d]: Q0.31, of what is d below the highest."""
    top = max(row)
    powers = [exp[top - v] for v in row]
    total = sum(divide_pot(e, 12) for e in powers)  # Q12.19
    bits = 0
    while total >> bits:
        bits += 1
    scale = _one_over_one_plus((total << (32 - bits)) - _INT32)
    shift = 12 - (32 - bits) + 23
    out = []
    for e in powers:
        v = divide_pot(high_mul(scale, e), shift) if 0 <= shift <= 31 else 0
        out.append(min(v - 128, 127))
    return out


def divided(v, scale):
    """round(v / scale) of two float32 given by their bits, as float32 divides and roundf() rounds;
    beyond 512 only roughly so. What is no number counts as 0."""
    exponent = (v >> 23 & 255) - (scale >> 23 & 255)
    a = v & 0x7FFFFF | 0x800000
    b = scale & 0x7FFFFF | 0x800000
    negative = v >> 31
    if not v >> 23 & 255 or (v >> 23 & 255) == 255 and v & 0x7FFFFF:
        return 0
    if (v >> 23 & 255) == 255:
        return -512 if negative else 512
    if a < b:
        a <<= 1
        exponent -= 1
    if exponent < -1:
        return 0
    if exponent >= 9:
        return -512 if negative else 512
    quotient, rest = (a << 23) // b, (a << 23) % b
    quotient += 2 * rest > b or (2 * rest == b and quotient & 1)
    rounded = (quotient + (1 << (22 - exponent))) >> (23 - exponent)
    return -rounded if negative else rounded

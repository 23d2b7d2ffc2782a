"""The reference's fixed-point arithmetic, integer for integer: TensorFlow Lite's, with double
rounding.

Everything here takes and gives int64 arrays (or ints) that hold int32 values;
c_modules/qnn/qnn_math.h is the same in C.
"""

import math

import numpy as np

_INT32_MIN, _INT32_MAX = -(2**31), 2**31 - 1


def quantize_multiplier(real):
    """
    (multiplier, shift) of a positive real: multiplier / 2^31 * 2^shift, multiplier in [2^30,
    2^31).
    """
    if real == 0.0:
        return 0, 0
    fraction, shift = math.frexp(real)
    multiplier = math.floor(fraction * 2**31 + 0.5)
    if multiplier == 2**31:
        multiplier //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    if shift > 30:
        raise ValueError("scales differ too much")
    return multiplier, shift


def quantize_once(real):
    """
    (multiplier, shift) of a positive real with which multiply() rounds once, where that costs no
    more precision than a float32 has: without a shift to the right there is no second rounding.
    """
    multiplier, shift = quantize_multiplier(real)
    if not -12 <= shift < 0:
        return multiplier, shift
    return math.floor(real * 2**31 + 0.5), 0


def high_mul(a, b):
    """a * b / 2^31 rounded, ties up (gemmlowp's SaturatingRoundingDoublingHighMul)."""
    a, b = np.asarray(a, np.int64), np.asarray(b, np.int64)
    product = a * b
    nudge = np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    total = product + nudge
    quotient = np.where(total >= 0, total >> 31, -(-total >> 31))
    return np.where((a == b) & (a == _INT32_MIN), _INT32_MAX, quotient)


def divide_pot(x, exponent):
    """x / 2^exponent rounded, ties away from zero (gemmlowp's RoundingDivideByPOT)."""
    x = np.asarray(x, np.int64)
    mask = (1 << exponent) - 1
    return (x >> exponent) + ((x & mask) > (mask >> 1) + (x < 0))


def multiply(x, multiplier, shift):
    """x * multiplier / 2^31 * 2^shift with both roundings (MultiplyByQuantizedMultiplier)."""
    left = np.asarray(x, np.int64) << max(shift, 0)
    return divide_pot(high_mul(left, multiplier), max(-shift, 0))


def saturate(x):
    """To the range of int32."""
    return np.clip(np.asarray(x, np.int64), _INT32_MIN, _INT32_MAX)


def round_away(x):
    """roundf() and round(): ties away from zero, in the type of x."""
    x = np.asarray(x)
    whole = np.trunc(x)
    return whole + np.where(np.abs(x - whole) >= 0.5, np.sign(x), 0).astype(x.dtype)


def activation_range(activation, scale, zero_point, low=-128, high=127):
    """(min, max) of quantised outputs under a fused activation."""

    def quantised(value):
        return zero_point + int(round_away(np.float32(value) / np.float32(scale)))

    if activation in ("NONE", None):
        return low, high
    ends = {"RELU": (0, None), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}
    if activation not in ends:
        raise ValueError(f"activation {activation} is not supported")
    smallest, largest = ends[activation]
    low = max(low, quantised(smallest))
    return low, high if largest is None else min(high, quantised(largest))


_EXP_STEPS = (
    # exp(-2^exponent) in Q0.31
    (-2, 1672461947),
    (-1, 1302514674),
    (0, 790015084),
    (1, 290630308),
    (2, 39332535),
    (3, 720401),
    (4, 242),
)


def _exp_small(a):
    """exp(a) for -1/4 <= a < 0, both Q0.31: a Taylor series around -1/8."""
    x = a + (1 << 28)
    x2 = high_mul(x, x)
    x3 = high_mul(x2, x)
    x4 = high_mul(x2, x2)
    rest = divide_pot(high_mul(divide_pot(x4, 2) + x3, 715827883) + x2, 1)
    return 1895147668 + high_mul(1895147668, x + rest)


def exp_negative(a):
    """exp(a) in Q0.31 for a <= 0 in Q5.26 (gemmlowp's exp_on_negative_values)."""
    a = np.asarray(a, np.int64)
    quarter = 1 << 24
    part = (a & (quarter - 1)) - quarter
    result = _exp_small(saturate(part << 5))
    remainder = part - a
    for exponent, factor in _EXP_STEPS:
        result = np.where(remainder & (1 << (26 + exponent)), high_mul(result, factor), result)
    return np.where(a == 0, _INT32_MAX, result)


def softmax_table(beta, scale):
    """
    int32[256]: exp(-i * beta * scale) in Q0.31 for differences i, 0 where the reference leaves
    one out.

    That is SoftmaxParams' input_multiplier, input_left_shift and diff_min, and what its loop
    makes of them.
    """
    real = min(float(np.float32(beta)) * scale * (1 << 26), 2.0**31 - 1)
    if real <= 1.0:
        raise ValueError("softmax: the input's scale is too small")
    multiplier, shift = quantize_multiplier(real)
    smallest = -math.floor(31.0 * 2**26 / 2**shift)
    difference = -np.arange(256, dtype=np.int64)
    rescaled = high_mul(saturate(difference << shift), multiplier)
    return np.where(difference >= smallest, exp_negative(rescaled), 0).astype(np.int32)

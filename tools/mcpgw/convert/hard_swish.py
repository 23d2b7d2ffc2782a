"""HARD_SWISH of int8 as the reference computes it, in fixed point of 16 bits."""

import numpy as np

from mcpgw.convert import fixed

_MIN, _MAX = -(2**15), 2**15 - 1


def _saturate(x):
    return np.clip(x, _MIN, _MAX)


def _towards_zero(x, bits):
    return np.where(x >= 0, x >> bits, -(-x >> bits))


def _rounding_high_mul(a, b):
    product = a * b
    total = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return _saturate(_towards_zero(total, 15))


def _multiplier(real):
    """(16-bit multiplier, exponent)"""
    multiplier, exponent = fixed.quantize_multiplier(real)
    return min((multiplier + (1 << 15)) >> 16, _MAX), exponent


def hard_swish(q, x_quantisation, y_quantisation):
    """Outputs, not yet clamped to int8, of an int64 array of quantised inputs."""
    (s1, z1), (s2, z2) = x_quantisation, y_quantisation
    fine = np.float32(1 / 128) * np.float32(s1)
    out, out_exponent = _multiplier(float(fine / np.float32(s2)))
    relu, relu_exponent = _multiplier(float(fine / np.float32(3 / 32768)))
    if out_exponent > 0:
        raise ValueError("HARD_SWISH: the output's scale is too small")
    value = (q - z1) << 7
    scaled = _rounding_high_mul(value, out)
    if relu_exponent > 0:
        value = _saturate(value << (relu_exponent - 1))
    value = _rounding_high_mul(value, relu)
    if relu_exponent > 0:
        value = _saturate(value << 1)
    elif relu_exponent < 0:
        value = fixed.divide_pot(value, -relu_exponent)
    share = (value + (1 << 15)) >> 1
    return fixed.divide_pot(_towards_zero(share * scaled, 15), -out_exponent) + z2

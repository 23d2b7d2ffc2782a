"""How trees and neighbours see a float32 value: as an int16; see docs/model-trees.md.

The arithmetic here is numpy's and Python's own, written apart from the C code that it is compared
with.
"""

import struct
from dataclasses import dataclass, field
from functools import partial

import numpy as np

RANKED, GRID, LINEAR = range(3)
MISSING = -32768
LOW, HIGH = -32767, 32767

_RECORD = struct.Struct("<BbHIiiHHhh")


def keys_of(values):
    """float32 values to int32 keys of the same order; both zeros become 0."""
    bits = np.asarray(values, np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def values_of(keys):
    """The float32 values of keys."""
    keys = np.asarray(keys, np.int64)
    bits = np.where(keys < 0, -keys | 0x80000000, keys)
    return bits.astype(np.uint32).view(np.float32)


@dataclass
class Feature:
    """The encoding of one feature: a record of 24 bytes and, where it is ranked, its keys."""

    encoding: int
    exponent: int = 0
    multiplier: int = 0
    offset: int = 0
    fraction: int = 0
    low: int = LOW
    high: int = HIGH
    keys: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def encode(self, values):
        """int16 of float32 values; exact, in Python's integers where numpy's would not hold it."""
        values = np.asarray(values, np.float32)
        missing = np.isnan(values)
        if self.encoding == RANKED:
            result = np.searchsorted(self.keys, keys_of(values), side="left")
        else:
            distinct, index = np.unique(np.where(missing, 0, values), return_inverse=True)
            # Infinity saturates as the largest number does.
            finite = np.clip(distinct.astype(np.float64), -3.4028234e38, 3.4028234e38)
            places = (self._place(float(v)) for v in finite)
            places = np.array([min(max(q, self.low), self.high) for q in places])
            result = places[index].reshape(values.shape)
        result = np.clip(result, self.low, self.high)
        return np.where(missing, MISSING, result).astype(np.int16)

    def _place(self, value):
        numerator, denominator = value.as_integer_ratio()
        if self.exponent >= 0:
            numerator <<= self.exponent
        else:
            denominator <<= -self.exponent
        if self.encoding == GRID:
            return -(-numerator // denominator) - self.offset
        product = (numerator * self.multiplier << 16) // denominator
        return (product + (self.offset << 16) + self.fraction + 0x8000) >> 16

    def pack(self, first_key):
        """The record."""
        return _RECORD.pack(
            self.encoding,
            self.exponent,
            len(self.keys),
            first_key,
            self.multiplier,
            self.offset,
            self.fraction,
            0,
            self.low,
            self.high,
        )


def linear(scale, offset):
    """The feature round(value * scale + offset), scale > 0."""
    # The multiplier has 31 bits.
    exponent = int(np.frexp(scale)[1]) - 31
    multiplier = round(scale * 2.0**-exponent)
    if multiplier >= 1 << 31:
        multiplier, exponent = multiplier >> 1, exponent + 1
    fixed = round(offset * 65536)
    if not -(1 << 47) <= fixed < 1 << 47 or not -128 <= exponent <= 127:
        raise ValueError("a feature's values are too large or too small to be scaled")
    return Feature(LINEAR, exponent, multiplier, fixed >> 16, fixed & 0xFFFF)


def for_thresholds(keys):
    """
    The cheapest encoding in which value <= threshold is decided as among float32 values, for every
    value.

    Args:
        keys: int keys (see keys_of) of a feature's thresholds, in any order, repeated or not.

    Returns:
        (Feature, function from an array of such keys to the thresholds' int16). Where all
        thresholds are multiples of one power of two that is not too small, ceil() keeps their
        order with every value; else each has its rank.
    """
    distinct = np.unique(np.asarray(keys, np.int64))
    values = values_of(distinct).astype(np.float64)
    if np.isfinite(values).all():
        for exponent in range(-8, 16):
            scaled = values * 2.0**exponent
            if (scaled == np.floor(scaled)).all():
                offset = _grid_offset(scaled)
                if offset is None:
                    break
                feature = Feature(GRID, exponent, offset=offset)
                return feature, partial(_grid_of, exponent=exponent, offset=offset)
    if len(distinct) > HIGH:
        raise ValueError(f"{len(distinct)} thresholds of one feature; at most {HIGH}")
    return Feature(RANKED, keys=distinct), lambda k: np.searchsorted(distinct, k)


def _grid_of(keys, exponent, offset):
    return (values_of(keys).astype(np.float64) * 2.0**exponent).astype(np.int64) - offset


def _grid_offset(scaled):
    """0 if all fit into 16 bits, else what centres them, or None if nothing does."""
    if len(scaled) == 0 or (scaled.min() >= LOW and scaled.max() < HIGH):
        return 0
    if abs(scaled).max() >= 1 << 30 or scaled.max() - scaled.min() >= HIGH - LOW - 2:
        return None
    return int((scaled.min() + scaled.max()) // 2)


def pack_features(features):
    """(records, keys) of a model as bytes, and how many keys there are."""
    records, keys = b"", []
    for feature in features:
        records += feature.pack(len(keys))
        keys.extend(feature.keys)
    return records, np.asarray(keys, "<i4").tobytes(), len(keys)


def encode_features(features, x):
    """int16 [samples, features] of float32 [samples, features]."""
    x = np.asarray(x, np.float32)
    return np.stack([f.encode(x[:, i]) for i, f in enumerate(features)], axis=1)

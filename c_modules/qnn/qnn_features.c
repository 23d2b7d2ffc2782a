#include "qnn_features.h"

#include <stddef.h>

int qnn_fail(const qnn_file_t *file, const void *at, int code, qnn_error_t *error) {
    error->at = (uint32_t)((const uint8_t *)at - file->bytes);
    return error->code = code;
}

const void *qnn_table(const qnn_file_t *file, uint32_t offset, uint32_t count, uint32_t size, qnn_error_t *error) {
    if (!qnn_in_data(file, offset, (uint64_t)count * size, 4)) {
        error->code = QNN_E_DATA;
        error->at = offset;
        return NULL;
    }
    return file->bytes + offset;
}

int qnn_features_check(const qnn_features_t *f, const qnn_file_t *file, qnn_error_t *error) {
    // Features share no keys: what the check takes is bounded by the size of the file.
    uint32_t left = f->n_keys;
    for (unsigned i = 0; i < f->count; i++) {
        const qnn_feature_t *r = &f->records[i];
        if (r->zero != 0) {
            return qnn_fail(file, r, QNN_E_RESERVED, error);
        }
        if (r->encoding > QNN_LINEAR || r->low == QNN_MISSING || r->low > r->high) {
            return qnn_fail(file, r, QNN_E_VALUE, error);
        }
        if (r->encoding != QNN_RANKED) {
            continue;
        }
        if (r->first_key > f->n_keys || r->n_keys > f->n_keys - r->first_key || r->n_keys > INT16_MAX
            || r->n_keys > left) {
            return qnn_fail(file, r, QNN_E_DATA, error);
        }
        left -= r->n_keys;
        const int32_t *keys = f->keys + r->first_key;
        for (unsigned k = 1; k < r->n_keys; k++) {
            if (keys[k] <= keys[k - 1]) {
                return qnn_fail(file, &keys[k], QNN_E_VALUE, error);
            }
        }
    }
    return QNN_OK;
}

// Integers in the order of the floats whose bits they are; both zeros become 0.
static int32_t key_of(uint32_t bits) {
    return bits & 0x80000000u ? -(int32_t)(bits & 0x7fffffff) : (int32_t)bits;
}

static int32_t rank(const int32_t *keys, unsigned count, int32_t key) {
    unsigned low = 0;
    while (count > 0) {
        unsigned half = count / 2;
        if (keys[low + half] < key) {
            low += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return (int32_t)low;
}

// floor(value * 2^exponent). Saturates far outside of what any feature's range holds.
static int64_t scaled(int64_t value, int exponent) {
    if (exponent >= 0) {
        // At most 2^55 comes in; what is not 0 is then beyond any int32 offset, or may be shifted.
        int64_t limit = INT64_C(1) << 61;
        if (exponent > 60 || value > limit >> exponent || value < -(limit >> exponent)) {
            return value == 0 ? 0 : value > 0 ? limit : -limit;
        }
        return value * (INT64_C(1) << exponent);
    }
    if (exponent < -62) {
        return value < 0 ? -1 : 0;
    }
    // Division that rounds down, without a right shift of a negative number.
    return value >= 0 ? value >> -exponent : -((-value - 1) >> -exponent) - 1;
}

// ceil(value * 2^exponent), saturated where it is beyond all offsets and 16 bits.
static int32_t on_grid(uint32_t bits, int exponent) {
    uint32_t magnitude = bits & 0x7fffffff, mantissa = (bits & 0x7fffff) | 0x800000;
    int shift = 150 - (int)(magnitude >> 23) - exponent;
    if (magnitude >> 23 == 0) {
        mantissa = magnitude;
        shift--;
    }
    if (mantissa == 0) {
        return 0;
    }
    uint32_t whole, rest;
    if (shift <= 0) {
        // 2^31 - 1 is as good as more: an offset is below that.
        whole = shift < -7 || mantissa >> (31 + shift) != 0 ? INT32_MAX : mantissa << -shift;
        rest = 0;
    } else {
        whole = shift > 24 ? 0 : mantissa >> shift;
        rest = shift > 24 || (mantissa & (((uint32_t)1 << shift) - 1)) != 0;
    }
    return bits & 0x80000000u ? -(int32_t)whole : (int32_t)(whole + rest);
}

static int16_t encode(const qnn_features_t *f, const qnn_feature_t *r, uint32_t bits) {
    uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) {
        return QNN_MISSING;
    }
    int64_t value;
    if (r->encoding == QNN_RANKED) {
        value = rank(f->keys + r->first_key, r->n_keys, key_of(bits));
    } else if (r->encoding == QNN_GRID) {
        value = (int64_t)on_grid(bits, r->exponent) - r->offset;
    } else {
        // value = mantissa * 2^exponent; infinity is as good as any huge number.
        int exponent = (int)(magnitude >> 23);
        int64_t mantissa = magnitude & 0x7fffff;
        if (exponent > 0) {
            mantissa |= 0x800000;
        } else {
            exponent = 1;
        }
        if (bits & 0x80000000u) {
            mantissa = -mantissa;
        }
        exponent += r->exponent - 150;
        int64_t offset = (int64_t)r->offset * 65536 + r->fraction;
        value = scaled(scaled(mantissa * r->multiplier, exponent + 16) + offset + 32768, -16);
    }
    return (int16_t)(value < r->low ? r->low : value > r->high ? r->high : value);
}

void qnn_features_encode(const qnn_features_t *f, const uint32_t *bits, int16_t *out) {
    for (unsigned i = 0; i < f->count; i++) {
        out[i] = encode(f, &f->records[i], bits[i]);
    }
}

void qnn_features_clamp(const qnn_features_t *f, const int16_t *in, int16_t *out) {
    for (unsigned i = 0; i < f->count; i++) {
        const qnn_feature_t *r = &f->records[i];
        int16_t value = in[i];
        if (value != QNN_MISSING) {
            value = value < r->low ? r->low : value > r->high ? r->high : value;
        }
        out[i] = value;
    }
}

// Attention over a cache of int8 keys and values, in integers.
//
// Keys are kept as their difference from the key at position 0, which adds the same to every score of a
// query and so changes nothing after the softmax: what most keys of a head have in common would
// otherwise take the better part of their eight bits.

#include "qnn_llama_math.h"

#define KEY_LIMIT (1 << 23)

// A head's pairs turned by the angles of the position; returns how far p was shifted right.
static int32_t turn(const qnn_llama_t *m, int32_t *p) {
    int32_t s = qnn_llama_fifteen(p, m->size);
    const int16_t *t = (const int16_t *)m->turns + (size_t)m->pos * m->size;
    for (uint32_t i = 0; i < m->size; i += 2) {
        int32_t a = p[i], b = p[i + 1], c = t[i], n = t[i + 1];
        // Each product is within 2^30; two of a hostile file's come to 2^31.
        p[i] = (int32_t)((uint32_t)(a * c) - (uint32_t)(b * n));
        p[i + 1] = (int32_t)((uint32_t)(a * n) + (uint32_t)(b * c));
    }
    return s - 14;
}

// A scale as the cache keeps it, in units that its exponent counts.
static uint16_t cached(qnn_real_t s, int32_t unit) {
    int32_t v = qnn_llama_round((int32_t)s.m, s.e - unit, 1 << 16);
    return (uint16_t)(v > 65535 ? 65535 : v);
}

static void keep(qnn_llama_t *m, uint32_t layer, const int32_t *units, qnn_real_t ks, qnn_real_t vs) {
    size_t at = (size_t)layer * m->positions + m->pos;
    uint32_t size = m->size;
    int32_t *v = m->kv + m->kv_heads * size;
    for (uint32_t j = 0; j < m->kv_heads; j++) {
        int32_t *k = m->kv + j * size;
        int32_t *first = m->first + (layer * m->kv_heads + j) * size;
        qnn_real_t s = ks;
        s.e += turn(m, k);
        for (uint32_t i = 0; i < size; i++) {
            k[i] = qnn_llama_apply(k[i], s, -units[0], KEY_LIMIT);
            if (m->pos == 0) {
                first[i] = k[i];
            }
            k[i] -= first[i];
        }
        size_t head = at * m->kv_heads + j;
        uint8_t *key = m->keys + head * size;
        m->key_scales[head] = cached(qnn_llama_quantise(k, size, (int8_t *)key), 0);
        for (uint32_t i = 0; i < size; i++) {
            key[i] ^= 128;
        }
        s = qnn_real_mul(qnn_llama_quantise(v + j * size, size, m->values + head * size), vs);
        m->value_scales[head] = cached(s, units[1]);
    }
}

qnn_real_t qnn_llama_attend(qnn_llama_t *m, uint32_t layer, const qnn_real_t *a) {
    const uint8_t *e = qnn_llama_layer(m, layer) + QNN_LLAMA_PER_LAYER * QNN_LLAMA_ENTRY;
    const int32_t units[2] = { (int32_t)qnn_u32(e), (int32_t)qnn_u32(e + 4) };
    keep(m, layer, units, a[1], a[2]);
    uint32_t n = m->pos + 1, size = m->size, stride = m->kv_heads * size;
    int32_t longer = m->max_positions > 512 ? qnn_llama_bits(m->max_positions - 1) - 9 : 0;
    size_t at = (size_t)layer * m->positions * m->kv_heads;
    int32_t shift = 0;
    for (uint32_t j = 0; j < m->heads; j++) {
        uint32_t kv = j / (m->heads / m->kv_heads);
        int32_t *q = m->b1 + j * size;
        int32_t turned = turn(m, q);
        qnn_real_t s = qnn_llama_quantise(q, size, m->q);
        s.e += turned;
        s = qnn_real_mul(qnn_real_mul(a[0], s), m->to_log2);
        qnn_llama_prepare(m, size);
        const uint16_t *scales = m->value_scales + at + kv;
        qnn_llama_dots(m, m->keys + (at + kv) * size, stride, n);
        int32_t most = qnn_llama_scores(m->scores, n, m->key_scales + at + kv, m->kv_heads, s.m, s.e + units[0] + 32);
        if (j % (m->heads / m->kv_heads) == 0) {
            shift = qnn_llama_bits(qnn_llama_largest_scale(scales, n, m->kv_heads)) + longer;
        }
        uint32_t *weights = (uint32_t *)m->scores, count = n;
        uint32_t total = qnn_llama_weights(weights, &count, scales, m->kv_heads, (uint32_t)most, (uint32_t)shift);
        int32_t *out = m->b2 + j * size;
        qnn_llama_mix(m->values + (at + kv) * size, stride, count, weights, out, size);
        int32_t over = qnn_llama_bits(total) - 16;
        qnn_real_t r = qnn_real((1u << 31) / (total >> over), -31 - over);
        int32_t left = 16 + r.e + shift + 7;
        for (uint32_t i = 0; i < size; i++) {
            int32_t v = qnn_llama_mul16(out[i], r.m);
            out[i] = left >= 0 ? qnn_llama_left(v, (uint32_t)left) : v >> -left;
        }
    }
    qnn_real_t r = qnn_llama_quantise(m->b2, m->heads * size, m->q);
    r.e += units[1] - 7;
    return r;
}

// One token through the layers, in integers.

#include <string.h>

#include "qnn_llama_math.h"

// Products that one step of the classifier does, about.
#define CLASSIFIER_MACS (65536)

int32_t qnn_llama_fifteen(int32_t *x, uint32_t n) {
    uint32_t most = qnn_llama_largest(x, n);
    if (most == 0) {
        return 0;
    }
    int32_t s = qnn_llama_bits(most) - 15;
    if (s > 0) {
        for (uint32_t i = 0; i < n; i++) {
            x[i] >>= s;
        }
    } else if (s < 0) {
        for (uint32_t i = 0; i < n; i++) {
            x[i] = qnn_llama_left(x[i], (uint32_t)-s);
        }
    }
    return s;
}

qnn_real_t qnn_llama_quantise(int32_t *p, uint32_t n, int8_t *q) {
    uint32_t most = qnn_llama_largest(p, n);
    if (most == 0) {
        memset(q, 0, n);
        return qnn_real(0, 0);
    }
    int32_t s = qnn_llama_bits(most) - 15;
    if (s >= 0) {
        most >>= s;
        int32_t inverse = (int32_t)((127u << 22) / most);
        for (uint32_t i = 0; i < n; i++) {
            q[i] = (int8_t)(((p[i] >> s) * inverse + (1 << 21)) >> 22);
        }
    } else {
        most <<= -s;
        int32_t inverse = (int32_t)((127u << 22) / most);
        for (uint32_t i = 0; i < n; i++) {
            q[i] = (int8_t)((qnn_llama_left(p[i], (uint32_t)-s) * inverse + (1 << 21)) >> 22);
        }
    }
    // 33026 is 2^22 / 127.
    return qnn_real(most * 33026u, s - 22);
}

// n, of 32 bits with one of the upper two set -> its root, rounded down.
static uint32_t square_root(uint32_t n) {
    uint32_t root = 0;
    for (uint32_t bit = 1u << 15; bit != 0; bit >>= 1) {
        uint32_t next = root | bit;
        if (next * next <= n) {
            root = next;
        }
    }
    return root;
}

// sum / d rounded down, d < 2^14 and sum < 2^46: what a 32-bit divider does in three steps.
static uint64_t divide(uint64_t sum, uint32_t d) {
    uint32_t a = (uint32_t)(sum >> 32);
    uint32_t b = a % d << 16 | ((uint32_t)(sum >> 16) & 0xffff);
    uint32_t c = b % d << 16 | ((uint32_t)sum & 0xffff);
    return ((uint64_t)(a / d) << 32) + ((uint64_t)(b / d) << 16) + c / d;
}

// Activations of x after a norm, in m->q; returns their scale. b2 is used up.
static qnn_real_t normalise(qnn_llama_t *m, const uint8_t *entry) {
    qnn_llama_tensor_t gains;
    uint32_t n = m->dim;
    qnn_llama_tensor(m, entry, n, 1, &gains);
    int32_t *p = m->b2;
    memcpy(p, m->x, n * sizeof(*p));
    int32_t s = qnn_llama_fifteen(p, n);
    const int16_t *g = (const int16_t *)(const void *)gains.data;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (uint32_t)(p[i] * p[i]);
        p[i] *= g[i];
    }
    if (sum == 0) {
        memset(m->q, 0, n);
        return qnn_real(0, 0);
    }
    uint64_t mean = divide(sum, n) + (s >= 0 ? (uint64_t)m->eps >> 2 * s : (uint64_t)m->eps << -2 * s);
    uint32_t high = (uint32_t)(mean >> 32);
    int32_t bits = high != 0 ? 32 + qnn_llama_bits(high) : qnn_llama_bits((uint32_t)mean);
    int32_t k = (bits - 31) >> 1;
    uint32_t root = square_root(k >= 0 ? (uint32_t)(mean >> 2 * k) : (uint32_t)mean << -2 * k);
    qnn_real_t r = qnn_real((1u << 31) / root, -31 - k);
    r = qnn_real_mul(qnn_llama_quantise(p, n, m->q), r);
    r.e += gains.exponent;
    return r;
}

// A matrix of a layer times the activations.
static qnn_real_t multiply(qnn_llama_t *m, const uint8_t *entry, uint32_t rows, uint32_t columns, qnn_real_t a,
    int32_t *v) {
    qnn_llama_tensor_t t;
    qnn_llama_tensor(m, entry, rows, columns, &t);
    a.e += qnn_llama_rows(m, &t, v, 0, rows);
    return a;
}

// The same, added to x.
static void add(qnn_llama_t *m, const uint8_t *entry, uint32_t columns, qnn_real_t a) {
    qnn_llama_prepare(m, columns);
    a = multiply(m, entry, m->dim, columns, a, m->b1);
    for (uint32_t i = 0; i < m->dim; i++) {
        int32_t x = m->x[i] + qnn_llama_apply(m->b1[i], a, 16, QNN_LLAMA_LIMIT / 2);
        m->x[i] = x > QNN_LLAMA_LIMIT ? QNN_LLAMA_LIMIT : x < -QNN_LLAMA_LIMIT ? -QNN_LLAMA_LIMIT : x;
    }
}

static void attention(qnn_llama_t *m, uint32_t layer) {
    const uint8_t *e = qnn_llama_layer(m, layer);
    uint32_t kv = m->kv_heads * m->size;
    qnn_real_t a = normalise(m, e + QNN_LLAMA_ATTN_NORM * QNN_LLAMA_ENTRY);
    qnn_llama_prepare(m, m->dim);
    qnn_real_t scales[3];
    scales[0] = multiply(m, e + QNN_LLAMA_WQ * QNN_LLAMA_ENTRY, m->heads * m->size, m->dim, a, m->b1);
    scales[1] = multiply(m, e + QNN_LLAMA_WK * QNN_LLAMA_ENTRY, kv, m->dim, a, m->kv);
    scales[2] = multiply(m, e + QNN_LLAMA_WV * QNN_LLAMA_ENTRY, kv, m->dim, a, m->kv + kv);
    a = qnn_llama_attend(m, layer, scales);
    add(m, e + QNN_LLAMA_WO * QNN_LLAMA_ENTRY, m->heads * m->size, a);
}

// x * sigmoid(x), both times 2^12; |x| <= 2^22.
static int32_t silu(int32_t x) {
    uint32_t a = qnn_llama_abs(x), s = 65535;
    if (a < 1u << 16) {
        const uint16_t *t = qnn_llama_sigmoid + (a >> 8);
        s = t[0] + ((uint32_t)(t[1] - t[0]) * (a & 255) >> 8);
    }
    return qnn_llama_mul16(x, x < 0 ? 65536 - s : s);
}

static void feed_forward(qnn_llama_t *m, uint32_t layer) {
    const uint8_t *e = qnn_llama_layer(m, layer);
    uint32_t n = m->hidden;
    qnn_real_t a = normalise(m, e + QNN_LLAMA_FFN_NORM * QNN_LLAMA_ENTRY);
    qnn_llama_prepare(m, m->dim);
    qnn_real_t gate = multiply(m, e + QNN_LLAMA_W1 * QNN_LLAMA_ENTRY, n, m->dim, a, m->b1);
    qnn_real_t up = multiply(m, e + QNN_LLAMA_W3 * QNN_LLAMA_ENTRY, n, m->dim, a, m->b2);
    for (uint32_t i = 0; i < n; i++) {
        m->b1[i] = silu(qnn_llama_apply(m->b1[i], gate, 12, 1 << 22));
    }
    int32_t s = qnn_llama_fifteen(m->b1, n) + qnn_llama_fifteen(m->b2, n) - 12;
    for (uint32_t i = 0; i < n; i++) {
        m->b1[i] *= m->b2[i];
    }
    a = qnn_real_mul(qnn_llama_quantise(m->b1, n, m->q), up);
    a.e += s;
    add(m, e + QNN_LLAMA_W2 * QNN_LLAMA_ENTRY, n, a);
}

static void embed(qnn_llama_t *m) {
    qnn_llama_tensor_t t;
    qnn_llama_tensor(m, m->entries + QNN_LLAMA_EMBEDDING * QNN_LLAMA_ENTRY, m->vocab, m->dim, &t);
    uint32_t row = t.columns * m->token;
    for (uint32_t i = 0; i < m->dim; i++) {
        int32_t w;
        if (t.type == QNN_LLAMA_NIBBLE) {
            // w0 w1, w4 w5, w2 w3, w6 w7
            static const uint8_t place[4] = { 0, 2, 1, 3 };
            uint32_t at = row + i;
            w = (t.data[at / 8 * 4 + place[at / 2 % 4]] >> at % 2 * 4 & 15) - 8;
        } else {
            w = t.data[row + i] - 128;
        }
        w *= t.scales[t.type == QNN_LLAMA_ROW ? m->token : (row + i) / 32];
        m->x[i] = qnn_llama_round(w, t.exponent + 16, QNN_LLAMA_LIMIT);
    }
}

// Rows of the classifier, a part at each call; 1 while more remain.
static int classify(qnn_llama_t *m, uint32_t part) {
    qnn_llama_tensor_t t;
    qnn_llama_tensor(m, m->entries + QNN_LLAMA_CLASSIFIER * QNN_LLAMA_ENTRY, m->vocab, m->dim, &t);
    uint32_t rows = CLASSIFIER_MACS / m->dim;
    uint32_t from = part * rows;
    uint32_t to = m->vocab - from > rows ? from + rows : m->vocab;
    if (part == 0) {
        m->scale = normalise(m, m->entries + QNN_LLAMA_NORM * QNN_LLAMA_ENTRY);
        qnn_llama_prepare(m, m->dim);
    }
    int32_t e = qnn_llama_rows(m, &t, m->logits, from, to);
    if (to < m->vocab) {
        return 1;
    }
    m->scale.e += e;
    return 0;
}

int qnn_llama_step(qnn_llama_t *m) {
    if (m->is_float) {
        #if QNN_LLAMA_FLOAT
        return qnn_llama_step_float(m);
        #endif
    }
    uint32_t stage = m->stage++;
    if (stage == 0) {
        embed(m);
    }
    if (stage < 2 * m->layers) {
        if (stage % 2 == 0) {
            attention(m, stage / 2);
        } else {
            feed_forward(m, stage / 2);
        }
        if (stage + 1 < 2 * m->layers || m->wanted) {
            return 1;
        }
    } else if (classify(m, stage - 2 * m->layers)) {
        return 1;
    }
    m->pos++;
    m->ready = m->wanted;
    return 0;
}

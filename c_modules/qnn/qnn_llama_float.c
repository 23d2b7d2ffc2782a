// The same models in float32, for processors that have it.

#include "qnn_llama_math.h"

#if QNN_LLAMA_FLOAT

#include <math.h>
#include <string.h>

static const float *tensor(const qnn_llama_t *m, const uint8_t *layer, uint32_t i) {
    return (const float *)(const void *)(m->bytes + qnn_u32(layer + i * QNN_LLAMA_ENTRY + 4));
}

// In eight sums, which a compiler may keep in one register.
static float dot(const float *a, const float *b, uint32_t n) {
    float sum[8] = { 0 };
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (uint32_t j = 0; j < 8; j++) {
            sum[j] += a[i + j] * b[i + j];
        }
    }
    float all = ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
    for (; i < n; i++) {
        all += a[i] * b[i];
    }
    return all;
}

static void multiply(const float *w, const float *x, float *v, uint32_t rows, uint32_t columns) {
    for (uint32_t i = 0; i < rows; i++) {
        v[i] = dot(w + (size_t)i * columns, x, columns);
    }
}

static void normalise(const qnn_llama_t *m, const float *gains, float *h) {
    const float *x = (const float *)(const void *)m->x;
    float eps;
    memcpy(&eps, &m->eps, sizeof(eps));
    float r = 1.0f / sqrtf(dot(x, x, m->dim) / (float)m->dim + eps);
    for (uint32_t i = 0; i < m->dim; i++) {
        h[i] = x[i] * r * gains[i];
    }
}

static void turn(const qnn_llama_t *m, float *p, uint32_t n) {
    const float *t = (const float *)m->turns + (size_t)m->pos * m->size;
    for (uint32_t i = 0; i < n; i += 2) {
        float a = p[i], b = p[i + 1], c = t[i % m->size], s = t[i % m->size + 1];
        p[i] = a * c - b * s;
        p[i + 1] = a * s + b * c;
    }
}

// One head: the softmax over its scores, then its values.
static void attend(const qnn_llama_t *m, const float *q, const float *keys, const float *values, float *out) {
    float *z = (float *)(void *)m->scores;
    uint32_t n = m->pos + 1, stride = m->kv_heads * m->size;
    float scale = 1.0f / sqrtf((float)m->size), most = -INFINITY, sum = 0;
    for (uint32_t t = 0; t < n; t++) {
        z[t] = dot(q, keys + (size_t)t * stride, m->size) * scale;
        most = z[t] > most ? z[t] : most;
    }
    memset(out, 0, m->size * sizeof(*out));
    for (uint32_t t = 0; t < n; t++) {
        float p = expf(z[t] - most);
        sum += p;
        for (uint32_t i = 0; i < m->size; i++) {
            out[i] += p * values[(size_t)t * stride + i];
        }
    }
    for (uint32_t i = 0; i < m->size; i++) {
        out[i] /= sum;
    }
}

static void add(const qnn_llama_t *m, const float *w, const float *h, uint32_t columns) {
    float *x = (float *)(void *)m->x;
    for (uint32_t i = 0; i < m->dim; i++) {
        x[i] += dot(w + (size_t)i * columns, h, columns);
    }
}

static void attention(const qnn_llama_t *m, uint32_t layer) {
    const uint8_t *e = qnn_llama_layer(m, layer);
    float *h = (float *)(void *)m->b2, *q = (float *)(void *)m->b1, *out = (float *)(void *)m->first;
    uint32_t kv = m->kv_heads * m->size, size = m->size;
    float *keys = (float *)(void *)m->keys + (size_t)layer * m->positions * kv;
    float *values = (float *)(void *)m->values + (size_t)layer * m->positions * kv;
    normalise(m, tensor(m, e, QNN_LLAMA_ATTN_NORM), h);
    multiply(tensor(m, e, QNN_LLAMA_WQ), h, q, m->heads * size, m->dim);
    multiply(tensor(m, e, QNN_LLAMA_WK), h, keys + (size_t)m->pos * kv, kv, m->dim);
    multiply(tensor(m, e, QNN_LLAMA_WV), h, values + (size_t)m->pos * kv, kv, m->dim);
    turn(m, q, m->heads * size);
    turn(m, keys + (size_t)m->pos * kv, kv);
    for (uint32_t j = 0; j < m->heads; j++) {
        uint32_t head = j / (m->heads / m->kv_heads) * size;
        attend(m, q + j * size, keys + head, values + head, out + j * size);
    }
    add(m, tensor(m, e, QNN_LLAMA_WO), out, m->heads * size);
}

static void feed_forward(const qnn_llama_t *m, uint32_t layer) {
    const uint8_t *e = qnn_llama_layer(m, layer);
    float *h = (float *)(void *)m->b2, *gate = (float *)(void *)m->b1;
    const float *up = tensor(m, e, QNN_LLAMA_W3);
    normalise(m, tensor(m, e, QNN_LLAMA_FFN_NORM), h);
    multiply(tensor(m, e, QNN_LLAMA_W1), h, gate, m->hidden, m->dim);
    for (uint32_t i = 0; i < m->hidden; i++) {
        gate[i] *= dot(up + (size_t)i * m->dim, h, m->dim) / (1.0f + expf(-gate[i]));
    }
    add(m, tensor(m, e, QNN_LLAMA_W2), gate, m->hidden);
}

// Logits as integers in units of 2^-16, which is what sampling reads.
static int32_t fixed(float x) {
    x *= 65536.0f;
    return x > -1e9f ? x < 1e9f ? (int32_t)nearbyintf(x) : 1000000000 : -1000000000;
}

int qnn_llama_step_float(qnn_llama_t *m) {
    uint32_t stage = m->stage++;
    if (stage == 0) {
        memcpy(m->x, tensor(m, m->entries, QNN_LLAMA_EMBEDDING) + (size_t)m->token * m->dim, m->dim * sizeof(float));
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
        m->pos++;
        return 0;
    }
    float *h = (float *)(void *)m->b2;
    const float *w = tensor(m, m->entries, QNN_LLAMA_CLASSIFIER);
    normalise(m, tensor(m, m->entries, QNN_LLAMA_NORM), h);
    for (uint32_t i = 0; i < m->vocab; i++) {
        m->logits[i] = fixed(dot(w + (size_t)i * m->dim, h, m->dim));
    }
    m->scale = qnn_real(1, -16);
    m->pos++;
    m->ready = 1;
    return 0;
}

#endif

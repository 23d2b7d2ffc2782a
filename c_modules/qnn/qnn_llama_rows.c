// Products of rows of int8 or 4 bits with the activations.

#include <string.h>

#include "qnn_llama_math.h"

// Rows longer than 512 lose bits below what 32 hold.
static uint32_t extra(uint32_t columns) {
    return columns > 512 ? (uint32_t)qnn_llama_bits(columns - 1) - 9 : 0;
}

#if defined(__ARM_ARCH_6M__)

// qnn_llama_m0.S, which knows where these lie.
typedef struct {
    const uint8_t *w;
    const uint32_t *pairs;
    const int16_t *scales;
    int32_t *out, *end;
    uint32_t groups; // of a row
    uint32_t bytes;  // of a group, a multiple of 16
    uint32_t before; // shift of a group's sum before it is scaled
    uint32_t after;  // and after
    const int32_t *sums;
} qnn_llama_job_t;

void qnn_llama_m0_bytes(const qnn_llama_job_t *job);
void qnn_llama_m0_nibbles(const qnn_llama_job_t *job);
void qnn_llama_m0_dots(const uint8_t *rows, const uint32_t *pairs, int32_t *out, uint32_t n, uint32_t bytes,
    uint32_t stride);

void qnn_llama_prepare(qnn_llama_t *m, uint32_t n) {
    uint32_t end = (n + 31) / 32 * 32;
    memset(m->q + n, 0, end - n);
    const int8_t *q = m->q;
    for (uint32_t *p = m->pairs, *last = p + end / 2; p < last; p += 2, q += 4) {
        p[0] = ((uint32_t)q[0] << 16) + (uint32_t)q[2];
        p[1] = ((uint32_t)q[1] << 16) + (uint32_t)q[3];
    }
}

int32_t qnn_llama_rows(const qnn_llama_t *m, const qnn_llama_tensor_t *t, int32_t *v, uint32_t from, uint32_t to) {
    uint32_t n = t->columns, more = extra(n);
    qnn_llama_job_t job = { t->data + from * n, m->pairs, t->scales + from, v + from, v + to, 1, n, more, 0, m->sums };
    if (t->type != QNN_LLAMA_ROW) {
        job.groups = n / 32;
        job.scales = t->scales + from * job.groups;
        job.bytes = 32;
        job.before = 0;
        job.after = more;
    }
    if (t->type != QNN_LLAMA_NIBBLE) {
        qnn_llama_m0_bytes(&job);
    } else {
        job.w = t->data + from * n / 2;
        for (uint32_t i = 0; i < n; i += 32) {
            int32_t sum = 0;
            for (uint32_t j = i; j < i + 32; j++) {
                sum += m->q[j];
            }
            m->sums[i / 32] = -8 * sum;
        }
        qnn_llama_m0_nibbles(&job);
    }
    return t->exponent + 8 + (int32_t)more;
}

void qnn_llama_dots(qnn_llama_t *m, const uint8_t *rows, uint32_t stride, uint32_t n) {
    qnn_llama_m0_dots(rows, m->pairs, m->scores, n, m->size, stride);
}

#else

void qnn_llama_prepare(qnn_llama_t *m, uint32_t n) {
    memset(m->q + n, 0, (n + 31) / 32 * 32 - n);
}

static int32_t dot(const uint8_t *w, const int8_t *q, uint32_t n) {
    int32_t acc = 0;
    for (uint32_t i = 0; i < n; i++) {
        acc += (w[i] - 128) * q[i];
    }
    return acc;
}

// 32 of them.
static int32_t dot_nibbles(const uint8_t *w, const int8_t *q) {
    int32_t acc = 0;
    for (uint32_t i = 0; i < 4; i++, w += 4, q += 8) {
        acc += ((w[0] & 15) - 8) * q[0] + ((w[0] >> 4) - 8) * q[1] + ((w[2] & 15) - 8) * q[2] + ((w[2] >> 4) - 8) * q[3];
        acc += ((w[1] & 15) - 8) * q[4] + ((w[1] >> 4) - 8) * q[5] + ((w[3] & 15) - 8) * q[6] + ((w[3] >> 4) - 8) * q[7];
    }
    return acc;
}

int32_t qnn_llama_rows(const qnn_llama_t *m, const qnn_llama_tensor_t *t, int32_t *v, uint32_t from, uint32_t to) {
    uint32_t n = t->columns;
    uint32_t more = extra(n);
    for (uint32_t r = from; r < to; r++) {
        const uint8_t *w = t->data + (size_t)r * (t->type == QNN_LLAMA_NIBBLE ? n / 2 : n);
        if (t->type == QNN_LLAMA_ROW) {
            v[r] = qnn_llama_mul8(dot(w, m->q, n) >> more, t->scales[r]);
            continue;
        }
        const int16_t *scales = t->scales + (size_t)r * (n / 32);
        int32_t sum = 0;
        for (uint32_t g = 0; g < n / 32; g++) {
            int32_t acc = t->type == QNN_LLAMA_GROUP ? dot(w + 32 * g, m->q + 32 * g, 32)
                : dot_nibbles(w + 16 * g, m->q + 32 * g);
            sum += qnn_llama_mul8(acc, scales[g]) >> more;
        }
        v[r] = sum;
    }
    return t->exponent + 8 + (int32_t)more;
}

void qnn_llama_dots(qnn_llama_t *m, const uint8_t *rows, uint32_t stride, uint32_t n) {
    for (uint32_t i = 0; i < n; i++, rows += stride) {
        m->scores[i] = dot(rows, m->q, m->size);
    }
}

#endif

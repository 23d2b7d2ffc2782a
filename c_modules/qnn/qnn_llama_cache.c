// What attention does once for each position of the cache. In a file of its own: inlined into what calls them, these
// loops run out of registers.

#include "qnn_llama_math.h"

int32_t qnn_llama_scores(int32_t *scores, uint32_t n, const uint16_t *scales, uint32_t step, uint32_t m, int32_t left) {
    int32_t most = INT32_MIN;
    const int32_t *end = scores + n;
    if (left > 0) {
        // Scores beyond what a trained model has.
        for (int32_t *z = scores; z < end; z++, scales += step) {
            *z = qnn_llama_round(qnn_llama_mul8(*z, (int32_t)(*scales * m >> 16)), left, QNN_LLAMA_LIMIT);
            most = *z > most ? *z : most;
        }
        return most;
    }
    uint32_t right = left > -31 ? (uint32_t)-left : 31;
    for (; scores < end; scores++, scales += step) {
        int32_t z = qnn_llama_mul8(*scores, (int32_t)(*scales * m >> 16)) >> right;
        *scores = z;
        most = z > most ? z : most;
    }
    return most;
}

uint32_t qnn_llama_largest_scale(const uint16_t *scales, uint32_t n, uint32_t step) {
    uint32_t most = 0;
    for (; n > 0; n--, scales += step) {
        most = *scales > most ? *scales : most;
    }
    return most;
}

uint32_t qnn_llama_weights(uint32_t *scores, uint32_t *n, const uint16_t *scales, uint32_t step, uint32_t most,
    uint32_t shift) {
    uint32_t total = 0;
    uint32_t *to = scores;
    uint32_t end = *n << 16;
    for (uint32_t t = 0; t < end; t += 1 << 16, scales += step) {
        uint32_t d = most - *scores++;
        if (d >> 8 < 16) {
            uint32_t p = (uint32_t)qnn_llama_exp2[d & 255] >> (d >> 8);
            total += p;
            uint32_t w = p * *scales >> shift;
            if (w != 0) {
                *to++ = t | w;
            }
        }
    }
    *n = (uint32_t)(to - (scores - (end >> 16)));
    return total;
}

#if !defined(__ARM_ARCH_6M__)

void qnn_llama_mix(const int8_t *values, uint32_t stride, uint32_t n, const uint32_t *weights, int32_t *out,
    uint32_t size) {
    for (const int32_t *last = out + size; out < last; out += 4, values += 4) {
        int32_t a = 0, b = 0, c = 0, d = 0;
        for (uint32_t i = 0; i < n; i++) {
            const int8_t *v = values + (size_t)(weights[i] >> 16) * stride;
            int32_t w = (int32_t)(weights[i] & 0xffff);
            a += w * v[0];
            b += w * v[1];
            c += w * v[2];
            d += w * v[3];
        }
        out[0] = a;
        out[1] = b;
        out[2] = c;
        out[3] = d;
    }
}

#endif

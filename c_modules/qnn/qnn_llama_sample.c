// From logits to a token.

#include "qnn_llama_math.h"

uint32_t qnn_llama_best(const qnn_llama_t *m) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < m->vocab; i++) {
        if (m->logits[i] > m->logits[best]) {
            best = i;
        }
    }
    return best;
}

// xorshift32 (Marsaglia 2003), which must not be 0.
static uint32_t next(uint32_t *random) {
    uint32_t x = *random != 0 ? *random : 0x9e3779b9u;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    *random = x;
    return x;
}

// Logits to weights of 23 bits: 2^23 for the largest.
static uint64_t weigh(qnn_llama_t *m, qnn_real_t s) {
    int32_t most = m->logits[qnn_llama_best(m)];
    uint64_t total = 0;
    // The differences take up to 32 bits.
    int32_t right = -(s.e + 16 + 8);
    for (uint32_t i = 0; i < m->vocab; i++) {
        uint32_t d = (uint32_t)most - (uint32_t)m->logits[i];
        uint32_t z = (d >> 16) * s.m + ((d & 0xffff) * s.m >> 16);
        if (right >= 0) {
            z = right < 32 ? z >> right : 0;
        } else {
            z = right > -32 && z <= UINT32_MAX >> -right ? z << -right : z == 0 ? 0 : UINT32_MAX;
        }
        uint32_t w = z >> 8 < 24 ? (uint32_t)qnn_llama_exp2[z & 255] << 8 >> (z >> 8) : 0;
        m->logits[i] = (int32_t)w;
        total += w;
    }
    return total;
}

static uint64_t above(const qnn_llama_t *m, int32_t least) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < m->vocab; i++) {
        if (m->logits[i] >= least) {
            sum += (uint32_t)m->logits[i];
        }
    }
    return sum;
}

uint32_t qnn_llama_sample(qnn_llama_t *m, uint32_t temperature, uint32_t top_p, uint32_t *random) {
    // 1 / ln(2) = 47274 * 2^-15
    qnn_real_t s = { 47274, -15 };
    qnn_real_t t = qnn_real(temperature, -16);
    s = qnn_real_mul(qnn_real_mul(m->scale, s), qnn_real((1u << 31) / t.m, -31 - t.e));
    uint64_t total = weigh(m, s);
    int32_t least = 1;
    if (top_p < 65536) {
        // The largest weight of which all that are no smaller make up that share; of 0, the largest.
        uint64_t share = (total * (top_p > 0 ? top_p : 1) + 65535) >> 16;
        for (int32_t bit = 1 << 23; bit != 0; bit >>= 1) {
            if (above(m, least + bit) >= share) {
                least += bit;
            }
        }
        total = above(m, least);
    }
    // total < 2^42: in two parts.
    uint32_t r = next(random);
    uint64_t at = (total >> 16) * r + ((total & 0xffff) * r >> 16);
    at >>= 16;
    m->ready = 0;
    uint32_t last = 0;
    for (uint32_t i = 0; i < m->vocab; i++) {
        if (m->logits[i] >= least) {
            last = i;
            if (at < (uint32_t)m->logits[i]) {
                break;
            }
            at -= (uint32_t)m->logits[i];
        }
    }
    return last;
}

// SHA-1's compression of one block (FIPS 180-4, 6.1.2) in four loops: mbedtls has it unrolled, which takes 4 KB
// more for 26 us rather than 37.

#include "mbedtls/sha1.h"

static inline uint32_t rotated(uint32_t x, unsigned bits) {
    return x << bits | x >> (32 - bits);
}

// Twenty steps with one function of b, c and d, and one constant.
#define TWENTY(from, function, constant) \
    for (unsigned t = from; t < from + 20; t++) { \
        uint32_t sum = rotated(a, 5) + (function) + e + constant + w[t]; \
        e = d; \
        d = c; \
        c = rotated(b, 30); \
        b = a; \
        a = sum; \
    }

int mbedtls_internal_sha1_process(mbedtls_sha1_context *ctx, const unsigned char data[64]) {
    uint32_t *state = ctx->MBEDTLS_PRIVATE(state);
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    uint32_t w[80]; // the message schedule

    for (unsigned t = 0; t < 16; t++, data += 4) {
        w[t] = (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
    }
    for (unsigned t = 16; t < 80; t++) {
        w[t] = rotated(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    }
    TWENTY(0, d ^ (b & (c ^ d)), 0x5A827999)
    TWENTY(20, b ^ c ^ d, 0x6ED9EBA1)
    TWENTY(40, (b & c) | (d & (b | c)), 0x8F1BBCDC)
    TWENTY(60, b ^ c ^ d, 0xCA62C1D6)
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    return 0;
}

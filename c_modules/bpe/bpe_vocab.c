#include "bpe_vocab.h"

// A constant that the compiler does not know: GCC would make a dozen shifts of a product that takes a
// Cortex-M0+ one cycle.
static inline __attribute__((always_inline)) uint32_t opaque(uint32_t value) {
    __asm__ ("" : "+r" (value));
    return value;
}

// The pairs are found by perfect hashing: one place each, so that also a pair that is no token costs
// one look. Multipliers are odd; docs/tokenizer-format.md has them too.
static inline __attribute__((always_inline)) uint32_t pair_by(const bpe_vocab_t *v, uint32_t a, uint32_t b,
    const uint32_t ref, const uint32_t bits) {
    BPE_STEP();
    if (v->slot_count == 0) {
        return BPE_NONE;
    }
    uint32_t first = a * opaque(0x9e3779b1u);
    uint32_t h = first + b * opaque(0x85ebca6bu);
    h = (h ^ h >> 15) * 0x2c1b3c6du;
    uint32_t d = v->displacement[h >> (32 - v->pair_bits)];
    uint32_t x = ((h + first) ^ d * 0x27d4eb2fu) * 0x165667b1u;
    // The upper half of x * slot_count, without a 64-bit product.
    uint32_t high = x >> 16, low = x & 0xffff;
    uint32_t wide = v->slot_count >> 16, narrow = v->slot_count & 0xffff;
    uint32_t middle = high * narrow + (low * narrow >> 16);
    uint32_t slot = middle >> 16;
    if (wide > 0) {
        slot = high * wide + slot + (((middle & 0xffff) + low * wide) >> 16);
    }
    uint32_t token = bpe_ref_of(v->slots + slot * ref, ref);
    if (token - v->merges >= v->tokens - v->merges) {
        return BPE_NONE; // an empty slot
    }
    uint32_t left, right;
    bpe_split_of(v->splits + (token - v->merges) * (bits / 4), bits, &left, &right);
    return left == a && right == b ? token : BPE_NONE;
}

uint32_t bpe_pair(const bpe_vocab_t *v, uint32_t a, uint32_t b) {
    return pair_by(v, a, b, v->ref, v->bits);
}

static inline __attribute__((always_inline)) int apart_by(const bpe_vocab_t *v, uint32_t a, uint32_t b, uint32_t limit,
    const uint32_t ref, const uint32_t bits) {
    for (;;) {
        // Where the texts meet, a and b now stand side by side until the merge `limit`.
        if (pair_by(v, a, b, ref, bits) < limit) {
            return 0;
        }
        uint32_t other;
        if (a > b) {
            if (a < v->merges) {
                return 1;
            }
            if (a < limit) {
                limit = a;
            }
            bpe_split_of(v->splits + (a - v->merges) * (bits / 4), bits, &other, &a);
        } else {
            if (b < v->merges) {
                return 1;
            }
            if (b + 1 < limit) {
                limit = b + 1;
            }
            bpe_split_of(v->splits + (b - v->merges) * (bits / 4), bits, &b, &other);
        }
    }
}

int bpe_apart(const bpe_vocab_t *v, uint32_t a, uint32_t b, uint32_t limit) {
    // Small vocabularies, on small boards, have code of their own.
    if (v->ref == 2 && v->bits == 12) {
        return apart_by(v, a, b, limit, 2, 12);
    }
    return apart_by(v, a, b, limit, v->ref, v->bits);
}

void bpe_run_of(const bpe_vocab_t *v, uint32_t token, bpe_run_t *run) {
    uint32_t low = 0, high = v->run_count;
    while (high - low > 1) {
        uint32_t middle = (low + high) / 2;
        if (bpe_u32(v->runs + 8 * middle) <= token) {
            low = middle;
        } else {
            high = middle;
        }
    }
    const uint8_t *p = v->runs + 8 * low;
    run->first = bpe_u32(p);
    run->size = (low + 1 < v->run_count ? bpe_u32(p + 8) : v->tokens) - run->first;
    run->distance = bpe_u32(p + 4) - run->first;
}

uint32_t bpe_outer(const bpe_vocab_t *v, uint32_t token) {
    bpe_run_t run;
    bpe_run_of(v, token, &run);
    return token + run.distance;
}

uint32_t bpe_inner(const bpe_vocab_t *v, uint32_t id) {
    uint32_t low = 0, high = v->run_count;
    while (high - low > 1) {
        uint32_t middle = (low + high) / 2;
        if (bpe_u32(v->runs + 8 * bpe_u16(v->order + 2 * middle) + 4) <= id) {
            low = middle;
        } else {
            high = middle;
        }
    }
    uint32_t at = bpe_u16(v->order + 2 * low);
    const uint8_t *run = v->runs + 8 * at;
    uint32_t end = at + 1 < v->run_count ? bpe_u32(run + 8) : v->tokens;
    uint32_t first = bpe_u32(run + 4);
    return id < first || id - first >= end - bpe_u32(run) ? BPE_NONE : bpe_u32(run) + id - first;
}

const uint8_t *bpe_literal(const bpe_vocab_t *v, uint32_t token, uint32_t *size) {
    const uint8_t *p = v->literals + (token - 256) * v->ref;
    uint32_t from = bpe_ref(v, p);
    *size = bpe_ref(v, p + v->ref) - from;
    return v->pool + from;
}

uint32_t bpe_bytes(const bpe_vocab_t *v, uint32_t token, uint8_t *out, uint32_t room) {
    uint32_t later[BPE_DEPTH_LIMIT]; // right halves whose left ones come first
    uint32_t depth = 0, size = 0;
    for (;;) {
        while (token >= v->merges) {
            if (depth == BPE_DEPTH_LIMIT) {
                return BPE_NONE;
            }
            bpe_split(v, token, &token, &later[depth++]);
        }
        uint8_t byte = (uint8_t)token;
        uint32_t more = 1;
        const uint8_t *p = token < 256 ? &byte : bpe_literal(v, token, &more);
        for (; more > 0; more--, p++, size++) {
            if (size < room) {
                out[size] = *p;
            }
        }
        // Until a file is checked, halves may double at every level.
        if (size > BPE_TOKEN_LENGTH) {
            return BPE_NONE;
        }
        if (depth == 0) {
            return size;
        }
        token = later[--depth];
    }
}

int bpe_leads_to(const bpe_vocab_t *v, uint32_t from, uint32_t length, const uint8_t *text, uint32_t size,
    uint32_t token) {
    bpe_walk_t w = { text + length, text + size, from, length, 1, 0 };
    for (;;) {
        uint32_t found = bpe_walk_next(v, &w);
        if (found == BPE_NONE) {
            return 0;
        }
        if (w.length == size) {
            return found == token;
        }
    }
}

int bpe_is_special(const bpe_vocab_t *v, uint32_t token) {
    if (v->special == BPE_NONE || token < v->wholes || token >= v->merges) {
        return 0;
    }
    uint32_t size;
    const uint8_t *text = bpe_literal(v, token, &size);
    return bpe_leads_to(v, v->special, 0, text, size, token);
}

// Reading of a vocabulary's parts. Private to bpe_core.

#ifndef BPE_VOCAB_H
#define BPE_VOCAB_H

#include "bpe_core.h"

// Before what is inlined: GCC inlines only what is compiled in the same way.
BPE_FAST

// Tokens fit in 20 bits and their lengths in 10, so that both and a mark fit in one word.
#define BPE_TOKEN_LIMIT (1u << 20)
// Merges on top of each other in one token.
#define BPE_DEPTH_LIMIT (64)

static inline uint32_t bpe_u16(const uint8_t *p) {
    return p[0] | (uint32_t)p[1] << 8;
}

static inline uint32_t bpe_u32(const uint8_t *p) {
    return bpe_u16(p) | bpe_u16(p + 2) << 16;
}

// References: of 2 or 3 bytes.
static inline uint32_t bpe_ref_of(const uint8_t *p, uint32_t ref) {
    uint32_t value = bpe_u16(p);
    return ref == 2 ? value : value | (uint32_t)p[2] << 16;
}

static inline uint32_t bpe_ref(const bpe_vocab_t *v, const uint8_t *p) {
    return bpe_ref_of(p, v->ref);
}

#define BPE_REF_LIMIT(v) (1u << (8 * (v)->ref - 1))

// The two tokens in a split of so many bits each.
static inline void bpe_split_of(const uint8_t *p, uint32_t bits, uint32_t *left, uint32_t *right) {
    if (bits == 16) {
        *left = bpe_u16(p);
        *right = bpe_u16(p + 2);
    } else if (bits == 12) {
        uint32_t both = bpe_u16(p) | (uint32_t)p[2] << 16;
        *left = both & 0xfff;
        *right = both >> 12;
    } else {
        *left = bpe_u16(p) | (p[2] & 15u) << 16;
        *right = p[2] >> 4 | bpe_u16(p + 3) << 4;
    }
}

// The two tokens that `token`, a merged one, was made of.
static inline void bpe_split(const bpe_vocab_t *v, uint32_t token, uint32_t *left, uint32_t *right) {
    bpe_split_of(v->splits + (token - v->merges) * (v->bits / 4u), v->bits, left, right);
}

// The run that a token is in.
void bpe_run_of(const bpe_vocab_t *v, uint32_t token, bpe_run_t *run);

// The token that a and b merge to, or BPE_NONE.
uint32_t bpe_pair(const bpe_vocab_t *v, uint32_t a, uint32_t b);

// Whether a and b, each of which stands for its own text, are what merging gives for both texts
// together; only merges before `limit` count.
int bpe_apart(const bpe_vocab_t *v, uint32_t a, uint32_t b, uint32_t limit);

// A walk down the trie along a text: next() gives tokens that the text begins with, shortest first.
typedef struct {
    const uint8_t *at; // the next byte of the text
    const uint8_t *end;
    uint32_t node;
    uint32_t length; // bytes walked
    uint8_t fresh;   // whether the token of this node was not given yet
    uint8_t ended;   // whether the text was too short to go on
} bpe_walk_t;

#define BPE_LEAF(v) BPE_REF_LIMIT(v)

static inline uint32_t bpe_root(const bpe_vocab_t *v, uint32_t first) {
    return bpe_ref(v, v->trie + first * v->ref);
}

// The first byte of a node: bit 7 says that the number of a token follows. The rest is the number of
// its children; or MANY, and what there are more follows; or more than MANY, by as many bytes as lead
// to its only child.
enum {
    BPE_NODE_TOKEN = 0x80,
    BPE_NODE_MANY = 96,
};

// The next token, its length in w->length; or BPE_NONE.
static inline uint32_t bpe_walk_next(const bpe_vocab_t *v, bpe_walk_t *w) {
    while (w->node != BPE_NONE) {
        BPE_STEP();
        if (w->node & BPE_LEAF(v)) {
            uint32_t token = w->node & ~BPE_LEAF(v);
            w->node = BPE_NONE;
            return token;
        }
        const uint8_t *p = v->trie + w->node;
        uint32_t head = *p++;
        if (head & BPE_NODE_TOKEN) {
            if (w->fresh) {
                w->fresh = 0;
                return bpe_ref(v, p);
            }
            p += v->ref;
        }
        w->fresh = 1;
        w->node = BPE_NONE;
        if (w->at == w->end) {
            w->ended = 1;
            break;
        }
        uint32_t count = head & 0x7f;
        if (count > BPE_NODE_MANY) {
            const uint8_t *from = w->at;
            count -= BPE_NODE_MANY;
            while (count > 0 && w->at < w->end && *w->at == *p) {
                BPE_STEP();
                w->at++;
                p++;
                count--;
            }
            if (count > 0) {
                w->ended = w->at == w->end;
                break;
            }
            w->length += (uint32_t)(w->at - from);
            w->node = bpe_ref(v, p);
            continue;
        }
        if (count == BPE_NODE_MANY) {
            count += *p++;
        }
        uint32_t low = 0, high = count, wanted = *w->at;
        while (high - low > 1) {
            uint32_t middle = (low + high) / 2;
            if (p[middle] <= wanted) {
                low = middle;
            } else {
                high = middle;
            }
        }
        if (p[low] != wanted) {
            break;
        }
        w->at++;
        w->length++;
        w->node = bpe_ref(v, p + count + low * v->ref);
    }
    return BPE_NONE;
}

// Whether the trie leads from node `from`, which is `length` bytes deep, along a text to its token.
int bpe_leads_to(const bpe_vocab_t *v, uint32_t from, uint32_t length, const uint8_t *text, uint32_t size,
    uint32_t token);

// The bytes of a token that is not merged, from 256 on.
const uint8_t *bpe_literal(const bpe_vocab_t *v, uint32_t token, uint32_t *size);

#endif // BPE_VOCAB_H

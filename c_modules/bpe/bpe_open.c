// The check of a whole file. A file that passes is safe to use, and its tokens are those of merging:
// every token is found in the trie by its bytes and nothing else is in there, every merge is found by
// its pair, and the halves of every token are what merging without it gives for its bytes.

#include "bpe_vocab.h"

enum {
    HEADER_SIZE = 128,
    VERSION = 1,
};

static int fail(bpe_fault_t *fault, const char *what, uint32_t at) {
    fault->what = what;
    fault->at = at;
    return 0;
}

// CRC-32 as in zlib, over bytes that follow those that gave `crc` (0 at first).
static uint32_t crc32(uint32_t crc, const uint8_t *p, uint32_t size) {
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    crc = ~crc;
    for (; size > 0; size--) {
        crc ^= *p++;
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

// The section whose offset and length stand at `at` of the header; its length must be as given.
static const uint8_t *section(const bpe_vocab_t *v, uint32_t at, uint32_t length, bpe_fault_t *fault) {
    uint32_t from = bpe_u32(v->file + at);
    uint32_t stated = bpe_u32(v->file + at + 4);
    if (stated != length) {
        fail(fault, "section has the wrong length", at + 4);
        return NULL;
    }
    if (from < HEADER_SIZE || from > v->size || stated > v->size - from) {
        fail(fault, "section outside the file", at);
        return NULL;
    }
    return v->file + from;
}

static int read_header(bpe_vocab_t *v, bpe_fault_t *fault) {
    const uint8_t *p = v->file;
    v->style = p[6];
    v->digits = p[7];
    v->flags = bpe_u32(p + 16);
    v->tokens = bpe_u32(p + 20);
    v->atoms = bpe_u32(p + 24);
    v->wholes = bpe_u32(p + 28);
    v->merges = bpe_u32(p + 32);
    v->ids = bpe_u32(p + 36);
    v->longest = (uint16_t)bpe_u16(p + 40);
    v->longest_special = (uint16_t)bpe_u16(p + 42);
    v->bos = (int32_t)bpe_u32(p + 44);
    v->eos = (int32_t)bpe_u32(p + 48);
    v->special = bpe_u32(p + 52);
    v->ref = p[56];
    v->bits = p[57];
    v->pair_bits = p[58];
    v->slot_count = bpe_u32(p + 60);
    if (v->style >= BPE_STYLES) {
        return fail(fault, "split style not known", 6);
    }
    if (v->flags & ~(uint32_t)BPE_FLAGS) {
        return fail(fault, "flag not known", 16);
    }
    if ((v->flags & (BPE_PREFIX | BPE_PREFIX_UNLESS)) && v->style >= BPE_GPT2) {
        return fail(fault, "a space before texts does not go with this split style", 16);
    }
    if (v->ref != 2 && v->ref != 3) {
        return fail(fault, "size of references not 2 or 3", 56);
    }
    if (v->bits != 12 && v->bits != 16 && v->bits != 20) {
        return fail(fault, "bits of a split not 12, 16 or 20", 57);
    }
    uint32_t limit = v->ref == 2 ? BPE_REF_LIMIT(v) : BPE_TOKEN_LIMIT;
    if (v->tokens > limit || v->tokens > 1u << v->bits) {
        return fail(fault, "too many tokens", 20);
    }
    if (v->atoms < 256 || v->wholes < v->atoms || v->merges < v->wholes || v->tokens < v->merges) {
        return fail(fault, "counts of tokens out of order", 24);
    }
    if (v->ids < v->tokens || v->ids > BPE_TOKEN_LIMIT) {
        return fail(fault, "public numbers too few or too many", 36);
    }
    if (v->longest < 1 || v->longest > BPE_TOKEN_LENGTH || v->longest_special > BPE_TOKEN_LENGTH) {
        return fail(fault, "longest token too long", 40);
    }
    if (v->bos < -1 || v->eos < -1 || (v->bos >= 0 && (uint32_t)v->bos >= v->ids)
        || (v->eos >= 0 && (uint32_t)v->eos >= v->ids)) {
        return fail(fault, "begin or end token out of range", 44);
    }
    if (v->pair_bits < 1 || v->pair_bits > 20 || v->slot_count > BPE_TOKEN_LIMIT) {
        return fail(fault, "sizes of the pair table out of range", 58);
    }
    // The lengths of these three are free; those of others follow.
    v->run_count = bpe_u32(p + 68) / 8;
    v->pool_size = bpe_u32(p + 92);
    v->trie_size = bpe_u32(p + 124);
    if (v->run_count < 1 || v->run_count > UINT16_MAX) {
        return fail(fault, "number of runs out of range", 68);
    }
    if (v->pool_size > v->size || v->trie_size > v->size || v->trie_size < 256u * v->ref
        || v->trie_size > BPE_REF_LIMIT(v)) {
        return fail(fault, "section too long or too short", v->trie_size < v->pool_size ? 92 : 124);
    }
    v->runs = section(v, 64, v->run_count * 8, fault);
    if (v->runs == NULL) {
        return 0;
    }
    bpe_run_of(v, BPE_NONE, &v->last_run);
    return (v->order = section(v, 72, v->run_count * 2, fault)) != NULL
        && (v->literals = section(v, 80, (v->merges - 256 + 1) * v->ref, fault)) != NULL
        && (v->pool = section(v, 88, v->pool_size, fault)) != NULL
        && (v->splits = section(v, 96, (v->tokens - v->merges) * (v->bits / 4u), fault)) != NULL
        && (v->displacement = section(v, 104, 1u << v->pair_bits, fault)) != NULL
        && (v->slots = section(v, 112, v->slot_count * v->ref, fault)) != NULL
        && (v->trie = section(v, 120, v->trie_size, fault)) != NULL;
}

static uint32_t place(const bpe_vocab_t *v, const uint8_t *p) {
    return (uint32_t)(p - v->file);
}

static int check_runs(const bpe_vocab_t *v, bpe_fault_t *fault) {
    if (bpe_u32(v->runs) != 0) {
        return fail(fault, "first run does not begin at token 0", place(v, v->runs));
    }
    for (uint32_t i = 0; i < v->run_count; i++) {
        const uint8_t *run = v->runs + 8 * i;
        uint32_t end = i + 1 < v->run_count ? bpe_u32(run + 8) : v->tokens;
        if (end <= bpe_u32(run) || end > v->tokens || bpe_u32(run + 4) > v->ids
            || end - bpe_u32(run) > v->ids - bpe_u32(run + 4)) {
            return fail(fault, "run of numbers out of range", place(v, run));
        }
    }
    uint32_t free = 0;
    for (uint32_t i = 0; i < v->run_count; i++) {
        const uint8_t *entry = v->order + 2 * i;
        uint32_t at = bpe_u16(entry);
        if (at >= v->run_count || bpe_u32(v->runs + 8 * at + 4) < free) {
            return fail(fault, "runs not in order of public numbers", place(v, entry));
        }
        const uint8_t *run = v->runs + 8 * at;
        uint32_t end = at + 1 < v->run_count ? bpe_u32(run + 8) : v->tokens;
        free = bpe_u32(run + 4) + end - bpe_u32(run);
    }
    return 1;
}

static int check_literals(const bpe_vocab_t *v, bpe_fault_t *fault) {
    uint32_t from = 0;
    for (uint32_t token = 256; token <= v->merges; token++) {
        const uint8_t *p = v->literals + (token - 256) * v->ref;
        uint32_t to = bpe_ref(v, p);
        if (to > v->pool_size || (token == 256 ? to != 0 : to <= from || to - from > BPE_TOKEN_LENGTH)) {
            return fail(fault, "bytes of a token out of range", place(v, p));
        }
        uint32_t point;
        if (token > 256 && token <= v->atoms && (to - from < 2
            || bpe_utf8(v->pool + from, v->pool + to, &point) != (int)(to - from))) {
            return fail(fault, "token of one character is none", place(v, v->pool + from));
        }
        from = to;
    }
    return 1;
}

// The size of the node at `at`, or 0 if it does not lie in the trie.
static uint32_t node_size(const bpe_vocab_t *v, uint32_t at) {
    uint32_t left = v->trie_size - at;
    if (at >= v->trie_size) {
        return 0;
    }
    uint32_t head = v->trie[at];
    uint32_t size = 1 + (head & BPE_NODE_TOKEN ? v->ref : 0u);
    uint32_t count = head & 0x7f;
    if (count > BPE_NODE_MANY) {
        size += count - BPE_NODE_MANY + v->ref;
    } else {
        if (count == BPE_NODE_MANY) {
            if (size >= left) {
                return 0;
            }
            count += v->trie[at + size++];
        }
        size += count * (1u + v->ref);
    }
    return count == 0 || size > left ? 0 : size;
}

typedef struct {
    uint32_t next;   // where the node lies that no reference has led to yet
    uint32_t tokens; // references to tokens that text is encoded to
    uint32_t others;
} trie_t;

static int check_token(const bpe_vocab_t *v, trie_t *t, uint32_t token, const uint8_t *at, bpe_fault_t *fault) {
    if (token >= v->tokens) {
        return fail(fault, "token in the trie out of range", place(v, at));
    }
    if (token >= v->wholes && token < v->merges) {
        t->others++;
    } else {
        t->tokens++;
    }
    return 1;
}

// References to nodes come in the order of the nodes, so that each node has one.
static int check_ref(const bpe_vocab_t *v, trie_t *t, const uint8_t *at, bpe_fault_t *fault) {
    uint32_t ref = bpe_ref(v, at);
    if (ref & BPE_LEAF(v)) {
        return check_token(v, t, ref & ~BPE_LEAF(v), at, fault);
    }
    uint32_t size = node_size(v, t->next);
    if (ref != t->next || size == 0) {
        return fail(fault, "reference in the trie leads astray", place(v, at));
    }
    t->next += size;
    return 1;
}

static int check_trie(const bpe_vocab_t *v, trie_t *t, bpe_fault_t *fault) {
    for (uint32_t i = 0; i < 256; i++) {
        if (!check_ref(v, t, v->trie + i * v->ref, fault)) {
            return 0;
        }
    }
    if (v->special != BPE_NONE) {
        uint32_t size = node_size(v, t->next);
        if (v->special != t->next || size == 0) {
            return fail(fault, "special tokens outside the trie", 52);
        }
        t->next += size;
    }
    uint32_t at = 256u * v->ref;
    while (at < t->next) {
        const uint8_t *p = v->trie + at;
        uint32_t count = *p & 0x7f;
        at += node_size(v, at);
        if (*p++ & BPE_NODE_TOKEN) {
            if (!check_token(v, t, bpe_ref(v, p), p, fault)) {
                return 0;
            }
            p += v->ref;
        }
        if (count > BPE_NODE_MANY) {
            p += count - BPE_NODE_MANY;
            count = 1;
        } else {
            if (count == BPE_NODE_MANY) {
                count += *p++;
            }
            for (uint32_t i = 1; i < count; i++) {
                if (p[i - 1] >= p[i]) {
                    return fail(fault, "children in the trie out of order", place(v, p + i));
                }
            }
            p += count;
        }
        for (; count > 0; count--, p += v->ref) {
            if (!check_ref(v, t, p, fault)) {
                return 0;
            }
        }
    }
    return at == v->trie_size || fail(fault, "bytes behind the trie", place(v, v->trie + at));
}

static int check_merge(const bpe_vocab_t *v, uint32_t token, bpe_fault_t *fault) {
    uint32_t at = place(v, v->splits) + (token - v->merges) * (v->bits / 4u);
    uint32_t left, right;
    bpe_split(v, token, &left, &right);
    if (left >= token || right >= token || (left >= v->atoms && left < v->merges)
        || (right >= v->atoms && right < v->merges)) {
        return fail(fault, "token is made of what comes after it", at);
    }
    if (bpe_pair(v, left, right) != token) {
        return fail(fault, "merge is not in the pair table", at);
    }
    if (!bpe_apart(v, left, right, token)) {
        return fail(fault, "token cannot be reached by merging", at);
    }
    return 1;
}

static int check_tokens(const bpe_vocab_t *v, trie_t *t, bpe_fault_t *fault) {
    uint8_t text[BPE_TOKEN_LENGTH];
    uint32_t others = 0;
    for (uint32_t token = 0; token < v->tokens; token++) {
        int merged = token >= v->merges;
        if (merged && !check_merge(v, token, fault)) {
            return 0;
        }
        uint32_t at = merged ? place(v, v->splits) + (token - v->merges) * (v->bits / 4u) : token;
        uint32_t size = bpe_bytes(v, token, text, sizeof(text));
        if (token >= v->wholes && !merged) {
            if (v->special != BPE_NONE && bpe_leads_to(v, v->special, 0, text, size, token)) {
                others++;
                if (size > v->longest_special) {
                    return fail(fault, "special token longer than the longest", 42);
                }
            }
            continue;
        }
        if (size > v->longest) {
            return fail(fault, "token longer than the longest", at);
        }
        if (!bpe_leads_to(v, bpe_root(v, text[0]), 1, text, size, token)) {
            return fail(fault, "trie does not lead to a token", at);
        }
    }
    if (t->others != others || t->tokens != v->tokens - (v->merges - v->wholes)) {
        return fail(fault, "trie leads to tokens by other ways", place(v, v->trie));
    }
    return 1;
}

int bpe_open(bpe_vocab_t *v, const uint8_t *file, size_t size, bpe_fault_t *fault) {
    if (size < HEADER_SIZE) {
        return fail(fault, "file too short", (uint32_t)size);
    }
    if (file[0] != 'M' || file[1] != 'G' || file[2] != 'T' || file[3] != '1') {
        return fail(fault, "not a tokenizer file (magic)", 0);
    }
    if (bpe_u16(file + 4) != VERSION) {
        return fail(fault, "version not known", 4);
    }
    v->file = file;
    v->size = bpe_u32(file + 8);
    if (v->size < HEADER_SIZE || v->size > size) {
        return fail(fault, "file cut short", 8);
    }
    if (crc32(crc32(0, file, 12), file + 16, v->size - 16) != bpe_u32(file + 12)) {
        return fail(fault, "checksum wrong", 12);
    }
    trie_t t = { 256u * file[56], 0, 0 };
    return read_header(v, fault) && check_runs(v, fault) && check_literals(v, fault)
        && check_trie(v, &t, fault) && check_tokens(v, &t, fault);
}

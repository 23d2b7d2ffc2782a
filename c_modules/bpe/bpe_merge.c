#include "bpe_merge.h"

#include "bpe_vocab.h"

// A token and its length in one word, and a mark.
#define LENGTH_MASK (BPE_TOKEN_LENGTH)
#define TOKEN_SHIFT (10)
#define MARK (1u << 30)
#define PACK(token, length) ((token) << TOKEN_SHIFT | (length))
#define TOKEN(word) ((word) >> TOKEN_SHIFT & (BPE_TOKEN_LIMIT - 1))
#define LENGTH(word) ((word) & LENGTH_MASK)

typedef struct {
    const uint8_t *text; // of which the first byte is at place `before`
    uint32_t size;       // with what is thought before it
    uint32_t before;     // 1: a space
} piece_t;

// Walk from place `at` over at most `limit` bytes.
static void begin(const bpe_vocab_t *v, const piece_t *p, uint32_t at, uint32_t limit, bpe_walk_t *w) {
    const uint8_t *from = p->text + at - p->before;
    uint32_t left = p->size - at;
    uint32_t first = at < p->before ? ' ' : *from;
    w->at = from + 1;
    w->end = from + (left < limit ? left : limit);
    w->node = bpe_root(v, first);
    w->length = 1;
    w->fresh = 1;
    w->ended = 0;
}

// Whether a token may stand where it was found: some stand only for whole pieces.
static inline int may_stand(const bpe_vocab_t *v, uint32_t token, int whole) {
    return token < v->atoms || token >= v->wholes || whole;
}

// Whether a token is the first byte of a character, which stands alone only if the character is no token.
static int is_lead(const bpe_vocab_t *v, uint32_t token) {
    return token >= 0xc0 && token < 256 && v->atoms > 256;
}

// longest() for references of `ref` bytes; plain: all tokens in the trie may stand anywhere. What
// bpe_walk_next() does, in registers: nearly all the time of a board goes into this and into pairs.
static inline __attribute__((always_inline)) uint32_t longest_by(const bpe_vocab_t *v, uint32_t first,
    const uint8_t *text, const uint8_t *end, const uint8_t *whole, uint32_t *token, const uint32_t ref,
    const int plain) {
    const uint8_t *trie = v->trie;
    const uint8_t *from = text - 1;
    const uint8_t *found = NULL; // where the number of the longest token so far is, and the text behind it
    const uint8_t *behind = from;
    const uint32_t leaf = 8 * ref - 1; // the bit
    uint32_t node = bpe_ref_of(trie + first * ref, ref);
    for (;;) {
        BPE_STEP();
        if (node >> leaf) {
            node ^= 1u << leaf;
            if (plain || may_stand(v, node, text == whole)) {
                *token = node;
                return (uint32_t)(text - from);
            }
            break;
        }
        const uint8_t *here = trie + node;
        uint32_t count = *here++;
        if (count & BPE_NODE_TOKEN) {
            if (plain || may_stand(v, bpe_ref_of(here, ref), text == whole)) {
                found = here;
                behind = text;
            }
            here += ref;
            count &= 0x7f;
        }
        if (text == end) {
            break;
        }
        if (count > BPE_NODE_MANY) {
            count -= BPE_NODE_MANY;
            if (count > (uint32_t)(end - text)) {
                break;
            }
            const uint8_t *stop = here + count;
            do {
                BPE_STEP();
                if (*text++ != *here++) {
                    goto out;
                }
            } while (here != stop);
            node = bpe_ref_of(here, ref);
            continue;
        }
        if (count == BPE_NODE_MANY) {
            count += *here++;
        }
        uint32_t wanted = *text++;
        const uint8_t *low = here;
        for (uint32_t rest = count; rest > 1;) {
            uint32_t half = rest / 2;
            rest -= half;
            if (low[half] <= wanted) {
                low += half;
            }
        }
        if (*low != wanted) {
            break;
        }
        here += count;
        node = bpe_ref_of(here + (low + count - here) * ref, ref);
    }
out:
    if (found != NULL) {
        *token = bpe_ref_of(found, ref);
    }
    return (uint32_t)(behind - from);
}

// The longest token that begins with `first` and goes on at `text`, before `end`; whole: the end of the
// piece if this is its beginning. Returns its length, 0 if there is none.
static uint32_t longest_from(const bpe_vocab_t *v, uint32_t first, const uint8_t *text, const uint8_t *end,
    const uint8_t *whole, uint32_t *token) {
    if (v->atoms != v->wholes) {
        return longest_by(v, first, text, end, whole, token, v->ref, 0);
    }
    return v->ref == 2 ? longest_by(v, first, text, end, whole, token, 2, 1)
        : longest_by(v, first, text, end, whole, token, 3, 1);
}

// The longest token at place `at` of at most `limit` bytes. Returns its length, 0 if there is none.
static uint32_t longest(const bpe_vocab_t *v, const piece_t *p, uint32_t at, uint32_t limit, uint32_t *token) {
    const uint8_t *text = p->text + at - p->before;
    uint32_t left = p->size - at;
    const uint8_t *end = text + (left < limit ? left : limit);
    return longest_from(v, at < p->before ? (uint32_t)' ' : *text, text + 1, end, at == 0 ? text + left : NULL, token);
}

static int is_blank(uint8_t c) {
    return c == ' ' || c == '\n' || c == '\t';
}

static inline int put(const bpe_vocab_t *v, bpe_job_t *job, uint32_t token) {
    if (job->ids != NULL) {
        if (job->count == job->room) {
            return BPE_ROOM;
        }
        // Most tokens are merged ones, most often in one run, and most of the others bytes of ASCII.
        const bpe_run_t *run = &v->last_run;
        if (token < run->first) {
            run = &job->run;
            if (token - run->first >= run->size) {
                bpe_run_of(v, token, &job->run);
            }
        }
        uint32_t id = token + run->distance;
        if (job->wide) {
            ((uint32_t *)job->ids)[job->count] = id;
        } else {
            ((uint16_t *)job->ids)[job->count] = (uint16_t)id;
        }
    }
    job->count++;
    return BPE_OK;
}

int bpe_give(const bpe_vocab_t *v, bpe_job_t *job, uint32_t token, uint32_t size, uint32_t end) {
    int status = put(v, job, token);
    if (status != BPE_OK) {
        return status;
    }
    // Only what invalid bytes may follow has to know where the last token ends that is not blank.
    if (v->style >= BPE_GPT2) {
        const uint8_t *p = job->text + end;
        while (size > 0 && is_blank(*--p)) {
            size--;
        }
        if (job->count == job->piece_count + 1) {
            job->blank = size == 0;
        }
        if (size > 0) {
            job->solid = end;
            job->solid_count = job->count;
        }
    }
    return BPE_OK;
}

// Cover a piece with the longest tokens, going back where one would not stay apart from the one before.
// token, length: the longest at its beginning.
static __attribute__((noinline)) int cover(const bpe_vocab_t *v, bpe_job_t *job, const piece_t *p, uint32_t from, uint32_t limit, uint32_t token,
    uint32_t length) {
    uint32_t *stack = job->work;
    uint32_t *dead = job->work + limit; // places from which there is no way on
    for (uint32_t i = 0; i <= p->size / 32; i++) {
        dead[i] = 0;
    }
    uint32_t depth = 0, at = 0;
    for (;;) {
        BPE_STEP();
        if (length == 0) {
            if (depth == 0) {
                return BPE_STUCK;
            }
            dead[at / 32] |= 1u << at % 32;
            uint32_t last = stack[--depth];
            token = TOKEN(last);
            length = LENGTH(last);
            at -= length;
        } else {
            uint32_t next = at + length;
            if (!(dead[next / 32] >> next % 32 & 1)
                && (depth == 0 || bpe_apart(v, TOKEN(stack[depth - 1]), token, BPE_NONE))) {
                stack[depth++] = PACK(token, length);
                at = next;
                if (at == p->size) {
                    break;
                }
                length = longest(v, p, at, BPE_NONE, &token);
                continue;
            }
        }
        // A shorter one.
        length = length == 1 ? 0 : longest(v, p, at, length - 1, &token);
        if (length == 1 && is_lead(v, token)) {
            length = 0;
        }
    }
    uint32_t end = from - p->before;
    for (uint32_t i = 0; i < depth; i++) {
        end += LENGTH(stack[i]);
        int status = bpe_give(v, job, TOKEN(stack[i]), LENGTH(stack[i]), end);
        if (status != BPE_OK) {
            return status;
        }
    }
    return BPE_OK;
}

// The last token of every prefix of a piece, where there is one, in a ring of places.
typedef struct {
    uint32_t *ring;
    uint32_t mask;
    uint32_t base; // what lies before this place is given out
    uint32_t end;  // no place behind this was reached
} prefixes_t;

// Give out the tokens from base to `to`.
static int give_until(const bpe_vocab_t *v, bpe_job_t *job, prefixes_t *t, uint32_t to, uint32_t from) {
    // Turn the way back into a way forth: what leads to a place moves to where it begins.
    uint32_t at = to;
    uint32_t word = t->ring[to & t->mask];
    while (at != t->base) {
        at -= LENGTH(word);
        uint32_t before = t->ring[at & t->mask];
        t->ring[at & t->mask] = word;
        word = before;
    }
    while (at != to) {
        word = t->ring[at & t->mask];
        at += LENGTH(word);
        int status = bpe_give(v, job, TOKEN(word), LENGTH(word), from + at);
        if (status != BPE_OK) {
            return status;
        }
    }
    for (; t->base != to; t->base++) {
        t->ring[t->base & t->mask] = BPE_NONE;
    }
    return BPE_OK;
}

// The last place that all ways through places from `at` on have in common.
static uint32_t in_common(prefixes_t *t, uint32_t at) {
    uint32_t marked = 0;
    for (uint32_t place = at; place <= t->end; place++) {
        uint32_t *word = &t->ring[place & t->mask];
        if (*word != BPE_NONE) {
            *word |= MARK;
            marked++;
        }
    }
    for (uint32_t place = t->end; place != t->base; place--) {
        BPE_STEP();
        uint32_t *word = &t->ring[place & t->mask];
        if (*word == BPE_NONE || !(*word & MARK)) {
            continue;
        }
        *word &= ~MARK;
        if (marked == 1) {
            return place;
        }
        uint32_t *before = &t->ring[(place - LENGTH(*word)) & t->mask];
        if (*before & MARK) {
            marked--;
        } else {
            *before |= MARK;
        }
    }
    t->ring[t->base & t->mask] &= ~MARK;
    return t->base;
}

static void reach(const bpe_vocab_t *v, prefixes_t *t, uint32_t at, uint32_t token, uint32_t length) {
    uint32_t *to = &t->ring[(at + length) & t->mask];
    if (*to == BPE_NONE && (at == 0 || bpe_apart(v, TOKEN(t->ring[at & t->mask]), token, BPE_NONE))) {
        *to = PACK(token, length);
        if (at + length > t->end) {
            t->end = at + length;
        }
    }
}

static __attribute__((noinline)) int read_through(const bpe_vocab_t *v, bpe_job_t *job, const piece_t *p, uint32_t from) {
    prefixes_t t = { job->work, 1, 0, 0 };
    while (t.mask <= job->work_size / 2) {
        t.mask *= 2;
    }
    for (uint32_t i = 0; i < t.mask; i++) {
        t.ring[i] = BPE_NONE;
    }
    uint32_t size = t.mask--;
    t.ring[0] = 0;
    from -= p->before;
    for (uint32_t at = 0; at < p->size; at++) {
        BPE_STEP();
        if (t.ring[at & t.mask] == BPE_NONE) {
            continue;
        }
        if (at + v->longest - t.base >= size) {
            int status = give_until(v, job, &t, in_common(&t, at), from);
            if (status != BPE_OK) {
                return status;
            }
            if (at + v->longest - t.base >= size - size / 4) {
                return BPE_WORK;
            }
        }
        bpe_walk_t w;
        begin(v, p, at, BPE_NONE, &w);
        uint32_t lead = BPE_NONE;
        uint32_t token;
        while ((token = bpe_walk_next(v, &w)) != BPE_NONE) {
            if (w.length == 1 && is_lead(v, token)) {
                lead = token;
            } else if (may_stand(v, token, at == 0 && w.length == p->size)) {
                lead = BPE_NONE;
                reach(v, &t, at, token, w.length);
            }
        }
        if (lead != BPE_NONE) {
            reach(v, &t, at, lead, 1);
        }
    }
    return t.end == p->size ? give_until(v, job, &t, p->size, from) : BPE_STUCK;
}

uint32_t bpe_work_size(const bpe_vocab_t *v) {
    uint32_t size = 256;
    while (size < 4u * v->longest) {
        size *= 2;
    }
    return size;
}

int bpe_merge(const bpe_vocab_t *v, bpe_job_t *job, uint32_t at, uint32_t end, uint32_t before) {
    uint32_t limit = job->work_size - job->work_size / 16;
    uint32_t size = end - at + before;
    if (size > limit) {
        return read_through(v, job, &(piece_t) { job->text + at, size, before }, at);
    }
    const uint8_t *text = job->text + at;
    const uint8_t *stop = job->text + end;
    uint32_t token = 0;
    uint32_t length = before ? longest_from(v, ' ', text, stop, stop, &token)
        : longest_from(v, *text, text + 1, stop, stop, &token);
    if (length != size) {
        return cover(v, job, &(piece_t) { text, size, before }, at, limit, token, length);
    }
    if (v->style < BPE_GPT2 || is_blank(stop[-1])) {
        return bpe_give(v, job, token, end - at, end);
    }
    // Nearly always: what bpe_give() would come to.
    int status = put(v, job, token);
    if (status == BPE_OK) {
        job->blank = 0;
        job->solid = end;
        job->solid_count = job->count;
    }
    return status;
}

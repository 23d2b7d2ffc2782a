// Transformers of the Llama architecture, token by token: docs/model-llama.md has file and arithmetic.
//
// Integers only, whatever the processor, unless the file holds floats (QNN_LLAMA_FLOAT). No allocation: the
// state (key and value cache, one token's activations, logits) lies in the caller's memory, and its size
// follows from the file and the number of positions that the caller has room for.

#ifndef QNN_LLAMA_H
#define QNN_LLAMA_H

#include <stddef.h>
#include <stdint.h>

#include "qnn_core.h"

// Whether models in float32 run: a few KB of code and libm.
#ifndef QNN_LLAMA_FLOAT
#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_7M__) || defined(QNN_NATMOD)
#define QNN_LLAMA_FLOAT (0)
#else
#define QNN_LLAMA_FLOAT (1)
#endif
#endif

// No token: what bos and eos are in a model without them.
#define QNN_LLAMA_NONE (0xffffffffu)

// A positive number m * 2^e, m in [2^15, 2^16), or 0 with m = 0.
typedef struct {
    uint32_t m;
    int32_t e;
} qnn_real_t;

typedef struct {
    // The model: what qnn_llama_open() found.
    const uint8_t *bytes;   // of the file
    const uint8_t *entries; // its tensors
    const void *turns;      // int16 or float32 [positions][size / 2][cosine, sine]
    uint32_t dim, hidden, layers, heads, kv_heads, size, vocab;
    uint32_t max_positions;
    uint32_t eps; // times 2^32, or the bits of a float32
    uint32_t bos, eos;
    uint32_t is_float;
    uint32_t wide; // longest vector of activations
    qnn_real_t to_log2; // log2(e) / sqrt(size): scores to powers of two

    // The run, in the caller's memory.
    uint32_t positions; // that there is room for
    uint32_t pos;       // tokens that are in the cache
    uint32_t token;     // being worked on
    uint32_t stage;     // of it: how far
    uint32_t wanted;    // whether its logits are
    uint32_t ready;     // whether the logits are those of the last token
    qnn_real_t scale;   // of the logits
    int32_t *x;         // [dim]
    int32_t *b1, *b2;   // [wide] each
    int32_t *kv;        // [2][kv_heads * size]
    int32_t *logits;    // [vocab]
    int32_t *first;     // [layers][kv_heads * size]: keys at position 0
    int32_t *scores;    // [positions]
    uint32_t *pairs;    // activations as a kernel wants them
    int32_t *sums;      // of 32 activations each
    int8_t *q;          // activations
    uint16_t *key_scales, *value_scales; // [layers][positions][kv_heads]
    uint8_t *keys;      // [layers][positions][kv_heads * size], 128 added
    int8_t *values;     // the same, nothing added
} qnn_llama_t;

// Checks a file of kind 4 that qnn_open() accepted and fills the model's half of `m`. Returns error->code.
int qnn_llama_open(qnn_llama_t *m, const qnn_file_t *file, qnn_error_t *error);

// Bytes of state for so many positions; a multiple of 8.
uint64_t qnn_llama_state(const qnn_llama_t *m, uint32_t positions);

// Puts the run into `state`, aligned to 8. Returns the positions that there is room for, at most
// m->max_positions; 0: not even one, and nothing may be run.
uint32_t qnn_llama_init(qnn_llama_t *m, void *state, size_t size);

// Starts on the next token; token < m->vocab, m->pos < m->positions. What lies behind m->pos in the cache
// is forgotten: setting m->pos back goes back in the text.
// logits: whether they are wanted. While a prompt is read they are not, but for its last token.
void qnn_llama_feed(qnn_llama_t *m, uint32_t token, int logits);

// Does half a layer of it or a part of the classifier; 1 while more remains, 0 when it is complete.
int qnn_llama_step(qnn_llama_t *m);

// The token of the largest logit, the first of equals.
uint32_t qnn_llama_best(const qnn_llama_t *m);

// Draws a token. temperature: times 2^16, not 0; top_p: times 2^16, 65536 for all tokens; random: state of the generator,
// any number to begin with. The logits are used up: m->ready becomes 0.
uint32_t qnn_llama_sample(qnn_llama_t *m, uint32_t temperature, uint32_t top_p, uint32_t *random);

#endif // QNN_LLAMA_H

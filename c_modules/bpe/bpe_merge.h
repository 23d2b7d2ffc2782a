// The tokens of one piece of text. Private to bpe_core.

#ifndef BPE_MERGE_H
#define BPE_MERGE_H

#include "bpe_core.h"

// Add a token of `size` bytes, the last one of them before `end` of the text, to what the job gave
// out. Returns BPE_OK or BPE_ROOM.
int bpe_give(const bpe_vocab_t *v, bpe_job_t *job, uint32_t token, uint32_t size, uint32_t end);

// Give out the tokens of text[at:end], with a space before it if `before` is 1.
int bpe_merge(const bpe_vocab_t *v, bpe_job_t *job, uint32_t at, uint32_t end, uint32_t before);

#endif // BPE_MERGE_H

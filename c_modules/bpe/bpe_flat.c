// For callers that do not know the structures: the host tools, through ctypes. No part of a firmware.

#include "bpe_core.h"

size_t bpe_flat_size(void);
int bpe_flat_open(bpe_vocab_t *v, const uint8_t *file, size_t size, const char **what, uint32_t *at);
uint32_t bpe_flat_work(const bpe_vocab_t *v);
int bpe_flat_encode(const bpe_vocab_t *v, const uint8_t *text, uint32_t size, uint32_t how, uint32_t *ids,
    uint32_t room, uint32_t *work, uint32_t work_size, uint32_t *out);
uint32_t bpe_flat_token(const bpe_vocab_t *v, uint32_t id, uint8_t *out, uint32_t room);

// Bytes that a vocabulary takes; the other functions take a pointer to so many.
size_t bpe_flat_size(void) {
    return sizeof(bpe_vocab_t);
}

int bpe_flat_open(bpe_vocab_t *v, const uint8_t *file, size_t size, const char **what, uint32_t *at) {
    bpe_fault_t fault = { "", 0 };
    int good = bpe_open(v, file, size, &fault);
    *what = fault.what;
    *at = fault.at;
    return good;
}

uint32_t bpe_flat_work(const bpe_vocab_t *v) {
    return bpe_work_size(v);
}

// ids: room for as many tokens, or NULL to count. out: bytes used, tokens, BPE_START for the next part.
int bpe_flat_encode(const bpe_vocab_t *v, const uint8_t *text, uint32_t size, uint32_t how, uint32_t *ids,
    uint32_t room, uint32_t *work, uint32_t work_size, uint32_t *out) {
    bpe_job_t job = { 0 };
    job.text = text;
    job.size = size;
    job.how = how;
    job.ids = ids;
    job.room = room;
    job.wide = 1;
    job.work = work;
    job.work_size = work_size;
    int status = bpe_encode(v, &job);
    out[0] = job.used;
    out[1] = job.count;
    out[2] = job.fresh ? BPE_START : 0;
    return status;
}

// The bytes of a token by its public number; BPE_NONE if there is no such token.
uint32_t bpe_flat_token(const bpe_vocab_t *v, uint32_t id, uint8_t *out, uint32_t room) {
    uint32_t token = id < v->ids ? bpe_inner(v, id) : BPE_NONE;
    return token == BPE_NONE ? BPE_NONE : bpe_bytes(v, token, out, room);
}

#include "bpe_core.h"

#include "bpe_merge.h"
#include "bpe_split.h"
#include "bpe_vocab.h"

// Find where the segment that begins at `from` ends: at the next special token, at what may become one,
// or with the text.
static void begin_segment(const bpe_vocab_t *v, bpe_job_t *job, uint32_t from) {
    job->begun = 1;
    job->inside = 0;
    job->at = from;
    job->hold = from;
    job->hold_count = job->count;
    job->solid = from;
    job->solid_count = job->count;
    job->segment = job->size;
    job->open = (job->how & BPE_MORE) != 0;
    job->special = BPE_NONE;
    if (!(job->how & BPE_SPECIAL) || v->special == BPE_NONE) {
        return;
    }
    for (uint32_t i = from; i < job->size; i++) {
        bpe_walk_t w = { job->text + i, job->text + job->size, v->special, 0, 1, 0 };
        uint32_t token;
        while ((token = bpe_walk_next(v, &w)) != BPE_NONE) {
            job->special = token;
            job->special_size = w.length;
        }
        if (w.ended && job->open) {
            job->special = BPE_NONE;
            job->segment = i;
            return;
        }
        if (job->special != BPE_NONE) {
            job->segment = i;
            job->open = 0;
            return;
        }
    }
}

// What came before the piece at job->at is certain, since a valid character follows it; but blank
// tokens in a row may still be joined to what invalid bytes make.
static void hold(const bpe_vocab_t *v, bpe_job_t *job) {
    if (v->style < BPE_GPT2 || job->solid == job->at || !job->inside) {
        job->hold = job->at;
        job->hold_count = job->count;
    } else if (job->solid > job->piece) {
        job->hold = job->piece;
        job->hold_count = job->piece_count;
    }
}

// Invalid bytes at job->at: together with the last piece, and blank tokens before that if it begins
// with one, they and all that follows are one piece, as tiktoken's _encode_bytes() has it.
static int encode_invalid(const bpe_vocab_t *v, bpe_job_t *job) {
    uint32_t from = job->at;
    if (job->inside) {
        from = job->piece;
        job->count = job->piece_count;
        if (job->blank) {
            from = job->piece_solid;
            job->count = job->piece_solid_count;
        }
    }
    return bpe_merge(v, job, from, job->segment, 0);
}

static uint32_t prefix(const bpe_vocab_t *v) {
    return v->flags & (BPE_PREFIX | BPE_PREFIX_UNLESS);
}

// Encode pieces up to the end of the segment, or to where more text would matter.
static int encode_segment(const bpe_vocab_t *v, bpe_job_t *job) {
    bpe_split_t s = { job->text, job->segment, job->open, 0, 0, v->style, v->digits, (v->flags & BPE_TRAILING) != 0 };
    const int words = v->style == BPE_GPT2 || v->style == BPE_CL100K;
    while (job->at < job->segment) {
        uint32_t point;
        uint32_t end = words ? bpe_word(job->text, job->at, job->segment) : 0;
        if (end == 0 && v->style >= BPE_GPT2 && job->text[job->at] >= 0x80) {
            int size = bpe_utf8(job->text + job->at, job->text + job->segment, &point);
            if (size <= 0) {
                if (job->open) {
                    return BPE_OK;
                }
                uint32_t count = job->count, blank = job->blank;
                int status = encode_invalid(v, job);
                if (status == BPE_OK) {
                    job->at = job->segment;
                } else {
                    job->count = count;
                    job->blank = blank;
                }
                return status;
            }
        }
        hold(v, job);
        if (end == 0) {
            end = bpe_piece(&s, job->at);
            if (s.touched) {
                return BPE_OK;
            }
        }
        job->piece = job->at;
        job->piece_count = job->count;
        job->piece_solid = job->solid;
        job->piece_solid_count = job->solid_count;
        uint32_t before = 0;
        if (job->fresh) {
            before = !(v->flags & BPE_PREFIX_UNLESS) || job->text[job->at] != ' ';
        }
        int status = bpe_merge(v, job, job->at, end, before);
        if (status != BPE_OK) {
            job->count = job->piece_count;
            job->solid = job->piece_solid;
            job->solid_count = job->piece_solid_count;
            return status;
        }
        job->inside = 1;
        job->fresh = 0;
        job->at = end;
    }
    return BPE_OK;
}

int bpe_encode(const bpe_vocab_t *v, bpe_job_t *job) {
    if (!job->begun) {
        job->fresh = (job->how & BPE_START) && prefix(v);
        begin_segment(v, job, 0);
    }
    for (;;) {
        int status = encode_segment(v, job);
        if (status != BPE_OK) {
            return status;
        }
        if (job->at < job->segment || job->open) {
            if (v->style < BPE_GPT2) {
                hold(v, job);
            }
            job->used = job->hold;
            job->count = job->hold_count;
            return BPE_OK;
        }
        if (job->special == BPE_NONE) {
            job->used = job->size;
            return BPE_OK;
        }
        uint32_t end = job->at + job->special_size;
        status = bpe_give(v, job, job->special, job->special_size, end);
        if (status != BPE_OK) {
            return status;
        }
        job->fresh = (v->flags & BPE_PREFIX_EACH) && prefix(v);
        begin_segment(v, job, end);
    }
}

// Runs bpe_core over records from stdin; built with AddressSanitizer and UBSan.
//
// record in:  uint32 size of a vocabulary file (0: the last one again), uint32 size of a text, uint32 how,
//             uint32 words of working memory more than enough (0: begin with too few), uint32 room for
//             tokens, then both
// record out: int32 status (-1: the file was refused), uint32 offset of the fault or bytes used,
//             uint32 tokens, uint64 steps, then the tokens as uint32
//
// Every buffer is its own allocation of the exact size, so that one byte read or written outside is a
// report. What was encoded is decoded again, and counting must agree with encoding.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpe_core.h"
#include "records.h"

uint64_t bpe_steps;

static void disagree(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(3);
}

// Encode, with more room and working memory as it is asked for. *ids: NULL to count.
static int run(const bpe_vocab_t *v, bpe_job_t *job, const uint8_t *text, const uint32_t *head, int keep, int wide) {
    uint32_t words = head[3] > 0 ? bpe_work_size(v) + head[3] : 16;
    uint32_t room = head[4];
    void *ids = keep ? allocate(room * (wide ? 4 : 2)) : NULL;
    uint32_t *work = allocate(4 * words);
    memset(work, 0xa5, 4 * words);
    memset(job, 0, sizeof(*job));
    int status;
    for (;;) {
        job->text = text;
        job->size = head[1];
        job->how = head[2];
        job->ids = ids;
        job->room = room;
        job->wide = (uint32_t)wide;
        job->work = work;
        job->work_size = words;
        status = bpe_encode(v, job);
        if (status == BPE_ROOM) {
            if (!keep) {
                disagree("counting asks for room");
            }
            room = room * 2 + 1;
            ids = realloc(ids, room * (wide ? 4 : 2));
        } else if (status == BPE_WORK && words < 1u << 24) {
            free(work);
            words *= 2;
            work = allocate(4 * words);
            memset(work, 0x5a, 4 * words);
            memset(job, 0, sizeof(*job));
        } else {
            break;
        }
    }
    free(work);
    if (keep) {
        job->ids = realloc(ids, job->count * (wide ? 4 : 2) + 1);
    }
    return status;
}

static uint32_t token_at(const bpe_job_t *job, uint32_t i) {
    return job->wide ? ((uint32_t *)job->ids)[i] : ((uint16_t *)job->ids)[i];
}

// The tokens must stand for the text that was used, with at most a space before each segment of it.
static void decode(const bpe_vocab_t *v, const bpe_job_t *job) {
    uint8_t *out = allocate(BPE_TOKEN_LENGTH);
    uint32_t at = 0;
    for (uint32_t i = 0; i < job->count; i++) {
        uint32_t token = bpe_inner(v, token_at(job, i));
        if (token == BPE_NONE || bpe_outer(v, token) != token_at(job, i)) {
            disagree("a token has no bytes");
        }
        uint32_t size = bpe_bytes(v, token, out, BPE_TOKEN_LENGTH);
        const uint8_t *from = out;
        if (v->flags & (BPE_PREFIX | BPE_PREFIX_UNLESS)
            && (at + size > job->used || memcmp(out, job->text + at, size) != 0)) {
            if (*from != ' ') {
                disagree("tokens are not the text");
            }
            from++;
            size--;
        }
        if (at + size > job->used || memcmp(from, job->text + at, size) != 0) {
            disagree("tokens are not the text");
        }
        at += size;
    }
    if (at != job->used) {
        disagree("tokens are not all of the text");
    }
    free(out);
}

int main(void) {
    uint32_t head[5];
    uint8_t *file = NULL;
    bpe_vocab_t v;
    bpe_fault_t fault = { "no vocabulary", 0 };
    int good = 0;
    while (read_all(head, sizeof(head), 1)) {
        bpe_steps = 0;
        if (head[0] > 0) {
            free(file);
            file = allocate(head[0]);
            read_all(file, head[0], 0);
            memset(&v, 0xa5, sizeof(v));
            good = bpe_open(&v, file, head[0], &fault);
            if (!good && (fault.what[0] == 0 || fault.at > head[0])) {
                disagree("a fault without a name or a place");
            }
        }
        uint8_t *text = allocate(head[1]);
        read_all(text, head[1], 0);
        int32_t status = -1;
        uint32_t out[2] = { fault.at, 0 };
        bpe_job_t job = { 0 };
        uint64_t steps = bpe_steps;
        if (good) {
            bpe_job_t counted;
            bpe_steps = 0;
            status = run(&v, &job, text, head, 1, v.ids > 65536);
            steps = bpe_steps;
            if (run(&v, &counted, text, head, 0, 0) != status) {
                disagree("counting ends in another way");
            }
            if (status == BPE_OK) {
                if (counted.count != job.count || counted.used != job.used) {
                    disagree("counting differs");
                }
                decode(&v, &job);
            }
            out[0] = job.used;
            out[1] = status == BPE_OK ? job.count : 0;
        }
        fwrite(&status, 4, 1, stdout);
        fwrite(out, 4, 2, stdout);
        fwrite(&steps, 8, 1, stdout);
        for (uint32_t i = 0; i < out[1]; i++) {
            uint32_t id = token_at(&job, i);
            fwrite(&id, 4, 1, stdout);
        }
        free(job.ids);
        free(text);
    }
    free(file);
    return fflush(stdout) == 0 ? 0 : 2;
}

// Opens model files of kind 4 from stdin and runs those that pass; built with sanitizers.
//
// record in:  uint32 size of the file, positions, tokens, seed; the file
// record out: int32 error code, uint32 offset, uint32 checksum of all logits and of the tokens drawn
//
// Every buffer is an allocation of its own and of the exact size, filled with 0xa5; twice, with another
// filling, since what lay in the state before must not matter.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qnn_llama.h"

// A hostile file may ask for more work and memory than a test has time for.
#define MOST_STATE (1u << 22)
#define MOST_WORK (1u << 24)

static void *allocate(size_t size, int fill) {
    void *p = malloc(size);
    if (p == NULL) {
        perror("malloc");
        exit(2);
    }
    memset(p, fill, size);
    return p;
}

static void read_all(void *to, size_t size) {
    if (fread(to, 1, size, stdin) != size) {
        fprintf(stderr, "record cut short\n");
        exit(2);
    }
}

static uint32_t random_bits(uint32_t *state) {
    *state = *state * 1664525 + 1013904223;
    return *state ^ *state >> 16;
}

static uint32_t run(qnn_llama_t *m, const uint32_t *head, int fill) {
    uint32_t positions = head[1] < m->max_positions ? head[1] : m->max_positions;
    uint64_t size = qnn_llama_state(m, positions);
    uint64_t work = ((uint64_t)m->dim * 3 + m->heads * m->size * 2) * m->hidden * m->layers + (uint64_t)m->vocab * m->dim;
    if (size > MOST_STATE || work > MOST_WORK) {
        return 0;
    }
    void *state = allocate((size_t)size, fill);
    uint32_t seed = head[3], random = head[3], sum = 2166136261u;
    if (qnn_llama_init(m, state, (size_t)size) != positions) {
        fprintf(stderr, "state for %u positions holds others\n", positions);
        exit(3);
    }
    for (uint32_t i = 0; i < head[2]; i++) {
        if (m->pos == m->positions) {
            m->pos = random_bits(&seed) % m->positions;
        }
        uint32_t bits = random_bits(&seed);
        qnn_llama_feed(m, (bits >> 8) % m->vocab, bits % 4 != 0);
        while (qnn_llama_step(m)) {
        }
        if (!m->ready) {
            continue;
        }
        for (uint32_t j = 0; j < m->vocab; j++) {
            sum = (sum ^ (uint32_t)m->logits[j]) * 16777619;
        }
        uint32_t token = bits % 8 < 4 ? qnn_llama_best(m)
            : qnn_llama_sample(m, 1 + (bits >> 4) % 200000, (bits >> 8) % 65537, &random);
        if (token >= m->vocab) {
            fprintf(stderr, "no such token: %u\n", token);
            exit(3);
        }
        sum = (sum ^ token) * 16777619;
    }
    free(state);
    return sum;
}

int main(void) {
    uint32_t head[4];
    while (fread(head, sizeof(head), 1, stdin) == 1) {
        uint8_t *bytes = allocate(head[0], 0);
        read_all(bytes, head[0]);
        qnn_file_t file;
        qnn_llama_t m;
        qnn_error_t error;
        uint32_t sum = 0;
        if (qnn_open(&file, bytes, head[0], &error) == QNN_OK && qnn_llama_open(&m, &file, &error) == QNN_OK) {
            sum = run(&m, head, 0xa5);
            if (!m.is_float && run(&m, head, 0x5a) != sum) {
                fprintf(stderr, "what lay in the state before matters\n");
                return 3;
            }
        }
        int32_t code = error.code;
        fwrite(&code, sizeof(code), 1, stdout);
        fwrite(&error.at, sizeof(error.at), 1, stdout);
        fwrite(&sum, sizeof(sum), 1, stdout);
        free(bytes);
    }
    return fflush(stdout) == 0 ? 0 : 2;
}

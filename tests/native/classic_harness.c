// Opens model files of kinds 2 and 3 from stdin and runs those that pass; built with sanitizers.
//
// record in:  uint32 size of the file, uint32 number of samples, uint32 seed; the file
// record out: int32 error code, uint32 offset, uint32 checksum of all answers and scores
//
// Every buffer is an allocation of its own and of the exact size. What was accepted must run on anything: raw
// floats of any bits, and numbers that a caller encoded himself.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qnn_neighbours.h"
#include "qnn_trees.h"

static void *allocate(size_t size) {
    void *p = malloc(size);
    if (p == NULL) {
        perror("malloc");
        exit(2);
    }
    memset(p, 0xa5, size);
    return p;
}

static uint32_t random_bits(uint32_t *state) {
    *state = *state * 1664525 + 1013904223;
    return *state ^ *state >> 16;
}

// The bits of a float: mostly small numbers, and some of any kind.
static uint32_t any_float(uint32_t *state) {
    uint32_t bits = random_bits(state);
    if ((bits & 7) != 0) {
        bits = (bits & 0x807fffff) | (112 + (bits >> 24) % 30) << 23;
    }
    return bits;
}

static uint32_t mix(uint32_t sum, uint32_t value) {
    return (sum ^ value) * 16777619;
}

static uint32_t run(const qnn_trees_t *t, const qnn_neighbours_t *n, uint32_t samples, uint32_t seed) {
    const qnn_features_t *f = t != NULL ? &t->features : &n->features;
    unsigned outputs = t != NULL ? t->n_outputs : n->n_outputs;
    uint32_t *bits = allocate(f->count * sizeof(*bits));
    int16_t *query = allocate(f->count * sizeof(*query));
    int32_t *scores = allocate(outputs * sizeof(*scores));
    qnn_search_t *search = allocate(sizeof(*search));
    uint32_t sum = 0;
    for (uint32_t i = 0; i < samples; i++) {
        for (unsigned j = 0; j < f->count; j++) {
            bits[j] = any_float(&seed);
        }
        if (i % 2 == 0) {
            qnn_features_encode(f, bits, query);
        } else {
            int16_t *raw = allocate(f->count * sizeof(*raw));
            memcpy(raw, bits, f->count * sizeof(*raw));
            qnn_features_clamp(f, raw, query);
            free(raw);
        }
        if (t != NULL) {
            qnn_trees_run(t, query, scores);
            sum = mix(sum, qnn_trees_class(t, scores));
        } else {
            qnn_neighbours_begin(search);
            while (qnn_neighbours_step(n, search, query, 1 + i)) {
            }
            qnn_neighbours_scores(n, search, scores);
            sum = mix(sum, qnn_neighbours_class(n, scores));
            sum = mix(sum, qnn_neighbours_distance(search));
        }
        for (unsigned j = 0; j < outputs; j++) {
            sum = mix(sum, (uint32_t)scores[j]);
        }
    }
    free(search);
    free(scores);
    free(query);
    free(bits);
    return sum;
}

int main(void) {
    uint32_t head[3];
    while (fread(head, sizeof(head), 1, stdin) == 1) {
        uint8_t *bytes = allocate(head[0]);
        if (head[0] > 0 && fread(bytes, head[0], 1, stdin) != 1) {
            fprintf(stderr, "record cut short\n");
            return 2;
        }
        qnn_file_t file;
        qnn_error_t error;
        qnn_trees_t t;
        qnn_neighbours_t n;
        uint32_t sum = 0;
        if (qnn_open(&file, bytes, head[0], &error) == QNN_OK) {
            if (file.kind == QNN_KIND_TREES && qnn_trees_open(&t, &file, &error) == QNN_OK) {
                sum = run(&t, NULL, head[1], head[2]);
            } else if (file.kind == QNN_KIND_NEIGHBOURS && qnn_neighbours_open(&n, &file, &error) == QNN_OK) {
                sum = run(NULL, &n, head[1], head[2]);
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

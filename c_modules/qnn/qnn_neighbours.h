// Nearest neighbours and nearest centroids (models of kind 3): k-NN classifiers and regressors, k-means.
//
// docs/model-trees.md specifies the file. Distances are squared, in 64 bits, of int8 or int16 vectors whose
// features share one scale; of equal distances the vector that comes first in the file is nearer.

#ifndef QNN_NEIGHBOURS_H
#define QNN_NEIGHBOURS_H

#include "qnn_features.h"

#define QNN_MAX_K (64)

typedef struct {
    qnn_features_t features;
    const void *vectors;
    const uint16_t *classes; // of each vector, or
    const int32_t *targets;  // n_outputs values of each vector; one of the two is NULL
    uint32_t n_vectors;
    uint32_t stride; // values from one vector to the next
    uint16_t n_outputs;
    uint8_t k;
    uint8_t width; // bytes of a value
    uint8_t by_distance; // nearer ones count more
} qnn_neighbours_t;

// A search, in the caller's memory.
typedef struct {
    uint64_t distance[QNN_MAX_K]; // squared, rising
    uint32_t index[QNN_MAX_K];
    uint32_t next; // the vector to look at
    unsigned found;
} qnn_search_t;

// Check a file of kind 3 that qnn_open() accepted. Returns error->code.
int qnn_neighbours_open(qnn_neighbours_t *n, const qnn_file_t *file, qnn_error_t *error);

void qnn_neighbours_begin(qnn_search_t *s);

// Look at up to `vectors` more vectors (0: all) for the encoded and clamped `query`. Returns 1 if some
// remain. The query must be the same in all steps of a search.
int qnn_neighbours_step(const qnn_neighbours_t *n, qnn_search_t *s, const int16_t *query, uint32_t vectors);

// After the last step. Votes per class: whole ones, or by distance with a sum of about 2^24. Or the mean of
// the targets. scores has n_outputs elements.
void qnn_neighbours_scores(const qnn_neighbours_t *n, const qnn_search_t *s, int32_t *scores);

// The first class with the most votes; 0 for a regression.
unsigned qnn_neighbours_class(const qnn_neighbours_t *n, const int32_t *scores);

// Distance of the nearest vector in the features' scale, rounded down.
uint32_t qnn_neighbours_distance(const qnn_search_t *s);

#endif // QNN_NEIGHBOURS_H

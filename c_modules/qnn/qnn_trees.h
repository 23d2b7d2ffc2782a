// Tree ensembles (models of kind 2): decision trees, random forests, boosted trees, isolation forests.
//
// docs/model-trees.md specifies the file. qnn_trees_open() checks all of it once; what it accepted can be
// run on any input without another check. All in integers: a decision is the one scikit-learn takes for
// the same float32 value.

#ifndef QNN_TREES_H
#define QNN_TREES_H

#include "qnn_features.h"

enum {
    QNN_VALUES = 0, // the scores are the answer
    QNN_ARGMAX = 1, // the first of the highest scores names the class
    QNN_SIGN = 2,   // class 1 where the only score is 0 or more, else class 0
};

typedef struct {
    uint32_t first_node;
    uint32_t first_leaf;
    uint16_t n_nodes; // 0: the tree is its first leaf
    uint16_t n_leaves;
    uint16_t output; // the score it adds to, where leaves hold one value
    uint16_t zero;
} qnn_tree_t;

// Two words, each of which is read at once; numbers of a file are little-endian, as all that runs this is.
typedef struct {
    uint32_t test;     // bits 0-15: threshold, signed; 16-30: feature; 31: a missing value goes left
    uint32_t children; // bits 0-15: left (value <= threshold), 16-31: right; the highest bit of each: a leaf
} qnn_tree_node_t;

typedef struct {
    qnn_features_t features;
    const qnn_tree_t *trees;
    const qnn_tree_node_t *nodes;
    const void *leaves;
    const int32_t *init;
    uint16_t n_trees;
    uint16_t n_outputs;
    uint16_t leaf_len;  // values of a leaf: 1 or n_outputs
    uint8_t leaf_width; // bytes of a value
    uint8_t post;
} qnn_trees_t;

// Check a file of kind 2 that qnn_open() accepted. Returns error->code.
int qnn_trees_open(qnn_trees_t *t, const qnn_file_t *file, qnn_error_t *error);

// Sum the trees' leaves for n_features encoded features. scores has n_outputs elements.
void qnn_trees_run(const qnn_trees_t *t, const int16_t *features, int32_t *scores);

// The class those scores name; 0 where they are the answer themselves.
unsigned qnn_trees_class(const qnn_trees_t *t, const int32_t *scores);

#endif // QNN_TREES_H

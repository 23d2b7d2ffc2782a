#include "qnn_trees.h"

// Ports build for size; this is where the time goes.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O2")
#endif

#include <stddef.h>
#include <string.h>

#define IS_LEAF (0x8000)
#define FEATURE(test) ((test) >> 16 & 0x7fff)
#define MISSING_LEFT (0x80000000u)

typedef struct {
    uint16_t n_features, n_outputs, n_trees;
    uint8_t post, leaf_width;
    uint32_t features, trees, init, keys, n_keys, nodes, n_nodes, leaves, n_leaves;
    uint16_t leaf_len, zero;
} body_t;

static int check_nodes(const qnn_trees_t *t, const qnn_tree_t *tree, const qnn_file_t *file, qnn_error_t *error) {
    const qnn_tree_node_t *nodes = t->nodes + tree->first_node;
    for (unsigned i = 0; i < tree->n_nodes; i++) {
        if (FEATURE(nodes[i].test) >= t->features.count) {
            return qnn_fail(file, &nodes[i], QNN_E_NODE, error);
        }
        for (unsigned side = 0; side < 2; side++) {
            unsigned child = side ? nodes[i].children >> 16 : nodes[i].children & 0xffff;
            // Children come after their parents: a walk ends, whatever the file says.
            if (child & IS_LEAF ? (child & ~IS_LEAF) >= tree->n_leaves : child <= i || child >= tree->n_nodes) {
                return qnn_fail(file, &nodes[i], QNN_E_NODE, error);
            }
        }
    }
    return QNN_OK;
}

static int in_table(uint32_t first, uint32_t count, uint32_t total) {
    return first <= total && count <= total - first && count <= IS_LEAF;
}

static int check_trees(const qnn_trees_t *t, const body_t *b, const qnn_file_t *file, qnn_error_t *error) {
    // Trees share no nodes: what a check and a run take is bounded by the size of the file.
    uint32_t nodes = b->n_nodes;
    for (unsigned i = 0; i < t->n_trees; i++) {
        const qnn_tree_t *tree = &t->trees[i];
        if (tree->zero != 0) {
            return qnn_fail(file, tree, QNN_E_RESERVED, error);
        }
        if (!in_table(tree->first_node, tree->n_nodes, b->n_nodes) || tree->n_nodes > nodes || tree->n_leaves == 0
            || !in_table(tree->first_leaf, tree->n_leaves, b->n_leaves) || tree->output >= t->n_outputs) {
            return qnn_fail(file, tree, QNN_E_DATA, error);
        }
        nodes -= tree->n_nodes;
        if (check_nodes(t, tree, file, error) != QNN_OK) {
            return error->code;
        }
    }
    return QNN_OK;
}

int qnn_trees_open(qnn_trees_t *t, const qnn_file_t *file, qnn_error_t *error) {
    error->code = QNN_OK;
    const body_t *b = (const void *)(file->bytes + file->body);
    if (file->body_len < sizeof(*b)) {
        return qnn_fail(file, b, QNN_E_BODY, error);
    }
    if (b->n_features == 0 || b->n_outputs == 0 || b->n_trees == 0 || b->n_features > 0x7fff
        || b->post > QNN_SIGN || (b->post == QNN_SIGN && b->n_outputs != 1)
        || (b->leaf_width != 1 && b->leaf_width != 2 && b->leaf_width != 4)
        || (b->leaf_len != 1 && b->leaf_len != b->n_outputs)) {
        return qnn_fail(file, b, QNN_E_BODY, error);
    }
    if (b->zero != 0) {
        return qnn_fail(file, &b->zero, QNN_E_RESERVED, error);
    }
    t->features.count = b->n_features;
    t->features.n_keys = b->n_keys;
    t->n_trees = b->n_trees;
    t->n_outputs = b->n_outputs;
    t->post = b->post;
    t->leaf_width = b->leaf_width;
    t->leaf_len = b->leaf_len;
    t->features.records = qnn_table(file, b->features, b->n_features, sizeof(qnn_feature_t), error);
    t->trees = qnn_table(file, b->trees, b->n_trees, sizeof(qnn_tree_t), error);
    t->init = qnn_table(file, b->init, b->n_outputs, sizeof(int32_t), error);
    t->features.keys = qnn_table(file, b->keys, b->n_keys, sizeof(int32_t), error);
    t->nodes = qnn_table(file, b->nodes, b->n_nodes, sizeof(qnn_tree_node_t), error);
    t->leaves = qnn_table(file, b->leaves, b->n_leaves, (uint32_t)b->leaf_len * b->leaf_width, error);
    if (error->code != QNN_OK || qnn_features_check(&t->features, file, error) != QNN_OK) {
        return error->code;
    }
    return check_trees(t, b, file, error);
}

// From a tree's root to one of its leaves: what most of the time goes into.
static unsigned walk(const qnn_tree_node_t *nodes, const int16_t *features) {
    unsigned at = 0;
    do {
        uint32_t test = nodes[at].test, children = nodes[at].children;
        at = features[FEATURE(test)] <= (int16_t)test ? children & 0xffff : children >> 16;
    } while (!(at & IS_LEAF));
    return at & ~IS_LEAF;
}

static unsigned walk_missing(const qnn_tree_node_t *nodes, const int16_t *features) {
    unsigned at = 0;
    do {
        uint32_t test = nodes[at].test, children = nodes[at].children;
        int value = features[FEATURE(test)];
        int left = value == QNN_MISSING ? (test & MISSING_LEFT) != 0 : value <= (int16_t)test;
        at = left ? children & 0xffff : children >> 16;
    } while (!(at & IS_LEAF));
    return at & ~IS_LEAF;
}

static int any_missing(const qnn_trees_t *t, const int16_t *features) {
    for (unsigned i = 0; i < t->features.count; i++) {
        if (features[i] == QNN_MISSING) {
            return 1;
        }
    }
    return 0;
}

// A converter's sums fit; a made-up file's may wrap around.
static int32_t add(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

static void add_leaf(const qnn_trees_t *t, uint32_t leaf, int32_t *scores) {
    unsigned n = t->leaf_len;
    if (t->leaf_width == 1) {
        for (const int8_t *v = (const int8_t *)t->leaves + leaf * n; n > 0; n--, scores++) {
            *scores = add(*scores, *v++);
        }
    } else if (t->leaf_width == 2) {
        for (const int16_t *v = (const int16_t *)t->leaves + leaf * n; n > 0; n--, scores++) {
            *scores = add(*scores, *v++);
        }
    } else {
        for (const int32_t *v = (const int32_t *)t->leaves + leaf * n; n > 0; n--, scores++) {
            *scores = add(*scores, *v++);
        }
    }
}

void qnn_trees_run(const qnn_trees_t *t, const int16_t *features, int32_t *scores) {
    int missing = any_missing(t, features);
    memcpy(scores, t->init, t->n_outputs * sizeof(*scores));
    for (unsigned i = 0; i < t->n_trees; i++) {
        const qnn_tree_t *tree = &t->trees[i];
        const qnn_tree_node_t *nodes = t->nodes + tree->first_node;
        uint32_t leaf = tree->first_leaf;
        if (tree->n_nodes > 0) {
            leaf += missing ? walk_missing(nodes, features) : walk(nodes, features);
        }
        add_leaf(t, leaf, t->leaf_len == 1 ? scores + tree->output : scores);
    }
}

unsigned qnn_trees_class(const qnn_trees_t *t, const int32_t *scores) {
    if (t->post != QNN_ARGMAX) {
        return t->post == QNN_SIGN && scores[0] >= 0;
    }
    unsigned best = 0;
    for (unsigned i = 1; i < t->n_outputs; i++) {
        if (scores[i] > scores[best]) {
            best = i;
        }
    }
    return best;
}

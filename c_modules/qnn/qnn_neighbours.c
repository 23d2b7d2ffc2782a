#include "qnn_neighbours.h"

// Ports build for size; this is where the time goes.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O2")
#endif

#include <stddef.h>
#include <string.h>

typedef struct {
    uint16_t n_features, n_outputs;
    uint8_t k, width, by_distance, is_classes;
    uint32_t features, keys, n_keys, vectors, n_vectors, answers;
} body_t;

int qnn_neighbours_open(qnn_neighbours_t *n, const qnn_file_t *file, qnn_error_t *error) {
    error->code = QNN_OK;
    const body_t *b = (const void *)(file->bytes + file->body);
    if (file->body_len < sizeof(*b)) {
        return qnn_fail(file, b, QNN_E_BODY, error);
    }
    if (b->n_features == 0 || b->n_outputs == 0 || b->k == 0 || b->k > QNN_MAX_K || b->k > b->n_vectors
        || (b->width != 1 && b->width != 2) || b->by_distance > 1 || b->is_classes > 1) {
        return qnn_fail(file, b, QNN_E_BODY, error);
    }
    n->features.count = b->n_features;
    n->features.n_keys = b->n_keys;
    n->n_outputs = b->n_outputs;
    n->n_vectors = b->n_vectors;
    n->k = b->k;
    n->width = b->width;
    n->by_distance = b->by_distance;
    // Rows begin on a multiple of 4 bytes.
    uint32_t row = ((uint32_t)b->n_features * b->width + 3) & ~(uint32_t)3;
    n->stride = row / b->width;
    n->features.records = qnn_table(file, b->features, b->n_features, sizeof(qnn_feature_t), error);
    n->features.keys = qnn_table(file, b->keys, b->n_keys, sizeof(int32_t), error);
    n->vectors = qnn_table(file, b->vectors, b->n_vectors, row, error);
    uint32_t answer = b->is_classes ? sizeof(uint16_t) : b->n_outputs * sizeof(int32_t);
    const void *answers = qnn_table(file, b->answers, b->n_vectors, answer, error);
    n->classes = b->is_classes ? answers : NULL;
    n->targets = b->is_classes ? NULL : answers;
    if (error->code != QNN_OK || qnn_features_check(&n->features, file, error) != QNN_OK) {
        return error->code;
    }
    for (unsigned i = 0; b->width == 1 && i < n->features.count; i++) {
        const qnn_feature_t *r = &n->features.records[i];
        if (r->low < INT8_MIN || r->high > INT8_MAX) {
            return qnn_fail(file, r, QNN_E_VALUE, error);
        }
    }
    for (uint32_t i = 0; b->is_classes && i < n->n_vectors; i++) {
        if (n->classes[i] >= n->n_outputs) {
            return qnn_fail(file, &n->classes[i], QNN_E_NODE, error);
        }
    }
    return QNN_OK;
}

void qnn_neighbours_begin(qnn_search_t *s) {
    s->next = 0;
    s->found = 0;
}

// Features summed before the 64-bit sum is taken up and compared: of two int8 the squares of a block fit
// into 32 bits, and adding there is what a Cortex-M0+ does in one cycle.
#define BLOCK (32)

// Products of differences of up to 65535, exact as unsigned.
static inline uint32_t square(int32_t a, int32_t b) {
    uint32_t d = (uint32_t)(a - b);
    return d * d;
}

static uint64_t distance8(const int8_t *v, const int16_t *q, unsigned count, uint64_t worst) {
    uint64_t sum = 0;
    while (count > 0 && sum < worst) {
        unsigned some = count < BLOCK ? count : BLOCK;
        uint32_t part = 0;
        count -= some;
        for (; some >= 4; some -= 4, v += 4, q += 4) {
            part += square(q[0], v[0]) + square(q[1], v[1]) + square(q[2], v[2]) + square(q[3], v[3]);
        }
        for (; some > 0; some--) {
            part += square(*q++, *v++);
        }
        sum += part;
    }
    return sum;
}

static uint64_t distance16(const int16_t *v, const int16_t *q, unsigned count, uint64_t worst) {
    uint64_t sum = 0;
    while (count > 0 && sum < worst) {
        unsigned some = count < BLOCK ? count : BLOCK;
        count -= some;
        for (; some >= 4; some -= 4, v += 4, q += 4) {
            sum += square(q[0], v[0]);
            sum += square(q[1], v[1]);
            sum += square(q[2], v[2]);
            sum += square(q[3], v[3]);
        }
        for (; some > 0; some--) {
            sum += square(*q++, *v++);
        }
    }
    return sum;
}

int qnn_neighbours_step(const qnn_neighbours_t *n, qnn_search_t *s, const int16_t *query, uint32_t vectors) {
    uint32_t left = n->n_vectors - s->next;
    uint32_t end = vectors == 0 || vectors > left ? n->n_vectors : s->next + vectors;
    for (uint32_t i = s->next; i < end; i++) {
        // What is not nearer than the worst of k is not looked at to its end.
        uint64_t worst = s->found < n->k ? UINT64_MAX : s->distance[n->k - 1];
        uint64_t d = n->width == 1
            ? distance8((const int8_t *)n->vectors + i * n->stride, query, n->features.count, worst)
            : distance16((const int16_t *)n->vectors + i * n->stride, query, n->features.count, worst);
        if (d >= worst) {
            continue;
        }
        unsigned at = s->found < n->k ? s->found++ : n->k - 1u;
        for (; at > 0 && s->distance[at - 1] > d; at--) {
            s->distance[at] = s->distance[at - 1];
            s->index[at] = s->index[at - 1];
        }
        s->distance[at] = d;
        s->index[at] = i;
    }
    s->next = end;
    return end < n->n_vectors;
}

static uint32_t square_root(uint64_t x) {
    uint64_t root = 0;
    for (uint64_t bit = UINT64_C(1) << 62; bit != 0; bit >>= 2) {
        if (x >= root + bit) {
            x -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
    }
    return (uint32_t)root;
}

uint32_t qnn_neighbours_distance(const qnn_search_t *s) {
    return square_root(s->distance[0]);
}

// Weights of 1/distance, so that they sum to about 2^24; those at distance 0 count alone, and equally.
static void weigh(const qnn_neighbours_t *n, const qnn_search_t *s, uint32_t *weights) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < n->k; i++) {
        uint64_t d = s->distance[i];
        if (!n->by_distance || s->distance[0] == 0) {
            weights[i] = !n->by_distance || d == 0;
            continue;
        }
        // The root with 16 bits of fraction where the square leaves room for them, else with none.
        unsigned shift = d >> 32 == 0 ? 16 : 0;
        uint64_t root = (uint64_t)square_root(d << 2 * shift) << (16 - shift);
        weights[i] = (uint32_t)((UINT64_C(1) << 47) / root);
        sum += weights[i];
    }
    if (sum == 0) {
        return;
    }
    for (unsigned i = 0; i < n->k; i++) {
        weights[i] = (uint32_t)(((uint64_t)weights[i] << 24) / sum);
    }
}

static int64_t divide_rounded(int64_t a, int64_t b) {
    return a >= 0 ? (a + b / 2) / b : -((-a + b / 2) / b);
}

void qnn_neighbours_scores(const qnn_neighbours_t *n, const qnn_search_t *s, int32_t *scores) {
    uint32_t weights[QNN_MAX_K];
    weigh(n, s, weights);
    if (n->classes != NULL) {
        memset(scores, 0, n->n_outputs * sizeof(*scores));
        for (unsigned i = 0; i < n->k; i++) {
            scores[n->classes[s->index[i]]] += (int32_t)weights[i];
        }
        return;
    }
    int64_t total = 0;
    for (unsigned i = 0; i < n->k; i++) {
        total += weights[i];
    }
    for (unsigned j = 0; j < n->n_outputs; j++) {
        int64_t sum = 0;
        for (unsigned i = 0; i < n->k; i++) {
            // Less than 2^24 * 2^31 * 64.
            sum += (int64_t)weights[i] * n->targets[s->index[i] * n->n_outputs + j];
        }
        scores[j] = (int32_t)divide_rounded(sum, total);
    }
}

unsigned qnn_neighbours_class(const qnn_neighbours_t *n, const int32_t *scores) {
    unsigned best = 0;
    for (unsigned i = 1; n->classes != NULL && i < n->n_outputs; i++) {
        if (scores[i] > scores[best]) {
            best = i;
        }
    }
    return best;
}

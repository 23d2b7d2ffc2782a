// How weights may lie in a file, and the portable kernel for those that are not rows.

#include "qnn_m0.h"

static uint64_t rounded(uint64_t n) {
    return (n + 3) & ~(uint64_t)3;
}

uint64_t qnn_conv_weights(uint8_t layout, uint32_t channels, uint32_t depth) {
    switch (layout) {
        case QNN_LAYOUT_PLAIN:
            return (uint64_t)channels * depth;
        case QNN_LAYOUT_ROWS:
            return channels * rounded(depth);
    }
    return 0;
}

uint64_t qnn_depthwise_weights(uint8_t layout, uint32_t channels, uint32_t depth) {
    return layout == QNN_LAYOUT_PLAIN || layout == QNN_LAYOUT_CHANNELS ? (uint64_t)channels * depth : 0;
}

uint64_t qnn_fully_connected_weights(uint8_t layout, uint32_t channels, uint32_t depth) {
    switch (layout) {
        case QNN_LAYOUT_PLAIN:
            return (uint64_t)channels * depth;
        case QNN_LAYOUT_FOURS:
            return 4 + ((uint64_t)channels + 3) / 4 * qnn_fours_pairs(depth) * 8;
    }
    return 0;
}

int qnn_fours_valid(const uint8_t *weights, uint64_t size, uint32_t channels, uint32_t depth) {
    uint64_t fours = ((uint64_t)channels + 3) / 4, pairs = qnn_fours_pairs(depth);
    uint64_t stride = qnn_u32le(weights);
    if (stride > pairs + 1 || 4 + rounded(fours * stride) + fours * pairs * 8 > size) {
        return 0;
    }
    // Each list adds up to all pairs, and then ends.
    const uint8_t *list = weights + 4;
    for (uint64_t i = 0; i < fours; i++, list += stride) {
        uint64_t sum = 0, k = 0;
        while (k < stride && list[k] < QNN_FOURS_CHUNK) {
            sum += (uint64_t)QNN_FOURS_CHUNK - list[k++];
        }
        if (sum != pairs || k == stride) {
            return 0;
        }
    }
    return 1;
}

// Places are words of input, and what the inputs up to there add up to.
uint64_t qnn_fully_connected_scratch(const qnn_conv_t *c) {
    return c->dense.layout == QNN_LAYOUT_FOURS ? (uint64_t)qnn_fours_pairs(c->dense.depth) * 16 : 0;
}

uint64_t qnn_depthwise_scratch(const qnn_conv_t *c) {
    return c->dense.layout == QNN_LAYOUT_CHANNELS ? QNN_M0_DEPTHWISE_SCRATCH : 0;
}

#if !QNN_M0
static void one_of_four(const qnn_conv_t *c, const uint8_t *words, const int8_t *x, uint32_t channel, int8_t *y) {
    int32_t acc = 0;
    for (uint32_t i = 0; i < c->dense.depth; i++) {
        acc += x[i] * ((int32_t)words[4 * i + channel % 4] - 128);
    }
    y[channel] = qnn_requantise(&c->dense.scale, channel, acc);
}
#endif

void qnn_fully_connected(const qnn_conv_t *c, uint32_t from, uint32_t to) {
    uint32_t first = from * 4, last = to * 4 < c->out_c ? to * 4 : c->out_c;
    if (c->dense.layout != QNN_LAYOUT_FOURS) {
        qnn_matmul(&c->dense, c->x, c->in_c, c->batches, c->y, c->out_c, first, last);
        return;
    }
#if QNN_M0
    qnn_m0_fully_connected(c, from, to);
#else
    const uint8_t *words = qnn_fours_words(c->dense.weights, c->out_c);
    for (uint32_t b = 0; b < c->batches; b++) {
        for (uint32_t channel = first; channel < last; channel++) {
            const uint8_t *four = words + (uint64_t)(channel / 4) * qnn_fours_pairs(c->dense.depth) * 8;
            one_of_four(c, four, c->x + b * c->in_c, channel, c->y + b * c->out_c);
        }
    }
#endif
}

// Cortex-M0+: depthwise convolutions of 3x3 windows, channel by channel. The part of the input that a block
// of the output needs is spread into words, upper rows in their lower halves, lower rows in their upper
// ones, so that one multiply does for both; see qnn_m0_nine.S.

#include "qnn_m0.h"

#if QNN_M0

int qnn_m0_depthwise_can(const qnn_conv_t *c) {
    return c->dense.layout == QNN_LAYOUT_CHANNELS && c->kernel_h == 3 && c->kernel_w == 3 && c->dilation_h == 1
        && c->dilation_w == 1 && c->stride_h <= 8 && c->stride_w <= 8
        && (c->in_h | c->in_w | c->out_h | c->out_w | c->pad_top | c->pad_left) < 32768;
}

// Rows `row` to row + rows - 1 and columns of one image's output. rows is 2 * lines or one less.
typedef struct {
    const qnn_conv_t *c;
    const int8_t *x; // the image
    int8_t *y;
    uint32_t *plane;
    int32_t *sums;
    int32_t row, rows, lines;
    int32_t column, columns;
} block_t;

static int32_t plane_lines(const block_t *b) {
    return (b->lines - 1) * (int32_t)b->c->stride_h + 3;
}

// Places outside of the image stay as they are for all channels.
static void clear(const block_t *b) {
    uint32_t zero = (uint32_t)b->c->dense.x_zero * 0x10001u;
    int32_t n = plane_lines(b) * QNN_M0_PITCH;
    for (int32_t i = 0; i < n; i++) {
        b->plane[i] = zero;
    }
}

static void spread(const block_t *b, uint32_t channel) {
    const qnn_conv_t *c = b->c;
    int8_t outside = (int8_t)c->dense.x_zero;
    int32_t in_h = (int32_t)c->in_h, in_w = (int32_t)c->in_w;
    int32_t left = b->column * (int32_t)c->stride_w - (int32_t)c->pad_left;
    int32_t width = (b->columns - 1) * (int32_t)c->stride_w + 3;
    int32_t first = left < 0 ? -left : 0;
    int32_t last = left + width > in_w ? in_w - left : width;
    int32_t y = b->row * (int32_t)c->stride_h - (int32_t)c->pad_top;
    int32_t apart = b->lines * (int32_t)c->stride_h;
    const int8_t *x = b->x + (left + first) * (int32_t)c->in_c + (int32_t)channel;
    uint32_t *line = b->plane;
    for (int32_t n = plane_lines(b); n > 0; n--, y++, line += QNN_M0_PITCH) {
        int upper = y >= 0 && y < in_h, lower = y + apart >= 0 && y + apart < in_h;
        const int8_t *p = upper ? x + y * in_w * (int32_t)c->in_c : &outside;
        const int8_t *q = lower ? x + (y + apart) * in_w * (int32_t)c->in_c : &outside;
        uint32_t p_step = upper ? c->in_c : 0, q_step = lower ? c->in_c : 0;
        uint32_t *end = line + last;
        for (uint32_t *to = line + first; to < end; to++, p += p_step, q += q_step) {
            *to = (uint32_t)*p + ((uint32_t)*q << 16);
        }
    }
}

static void outputs(const block_t *b, uint32_t channel) {
    const qnn_conv_t *c = b->c;
    const qnn_scale_t *s = &c->dense.scale;
    uint32_t i = channel * s->step;
    qnn_outputs_t op = {
        .bias = s->bias[channel],
        .multiplier = s->multiplier[i],
        .shift = -s->shift[i],
        .y_stride = c->out_c,
        .min = s->min,
        .range = s->max - s->min,
        .zero = s->zero - s->min,
    };
    int8_t *y = b->y + ((uint32_t)b->row * c->out_w + (uint32_t)b->column) * c->out_c + channel;
    // Whole rows follow each other without a gap.
    int whole = b->columns == (int32_t)c->out_w;
    for (int lower = 0; lower < 2; lower++) {
        int32_t left = lower ? b->rows - b->lines : b->lines;
        op.sums = b->sums + 1 - lower;
        op.count = (uint32_t)(whole ? left * b->columns : b->columns);
        for (left = whole ? left > 0 : left; left > 0; left--) {
            op.y = y;
            qnn_m0_outputs(&op);
            op.sums += 2 * b->columns;
            y += c->out_w * c->out_c;
        }
        y = b->y + ((uint32_t)(b->row + b->lines) * c->out_w + (uint32_t)b->column) * c->out_c + channel;
    }
}

static void block(const block_t *b) {
    const qnn_conv_t *c = b->c;
    uint32_t column = 4 * c->stride_w, multiplier = c->out_c / c->in_c, same = 0;
    qnn_nine_t nine = {
        .x = b->plane,
        .w = c->dense.weights,
        .sums = b->sums,
        .column = column,
        .columns = (uint32_t)b->columns,
        .line = 4 * QNN_M0_PITCH * c->stride_h - (uint32_t)b->columns * column,
        .lines = (uint32_t)b->lines,
    };
    clear(b);
    for (uint32_t channel = 0, from = 0; channel < c->out_c; channel++, nine.w += 9) {
        if (same == 0) {
            spread(b, from++);
            same = multiplier;
        }
        same--;
        qnn_m0_nine(&nine);
        outputs(b, channel);
    }
}

void qnn_m0_depthwise(const qnn_conv_t *c, uint32_t from, uint32_t to) {
    int32_t widest = (QNN_M0_PITCH - 3) / (int32_t)c->stride_w + 1;
    widest = widest < (int32_t)c->out_w ? widest : (int32_t)c->out_w;
    int32_t per_line = 4 * QNN_M0_PITCH * (int32_t)c->stride_h;
    int32_t most = ((int32_t)c->scratch_len - 3 * 4 * QNN_M0_PITCH + per_line) / (per_line + 8 * widest);
    while (from < to) {
        uint32_t image = from / c->out_h, row = from % c->out_h, rows = c->out_h - row;
        rows = rows < to - from ? rows : to - from;
        rows = rows < 2 * (uint32_t)most ? rows : 2 * (uint32_t)most;
        block_t b = {
            .c = c,
            .x = c->x + image * c->in_h * c->in_w * c->in_c,
            .y = c->y + image * c->out_h * c->out_w * c->out_c,
            .plane = (uint32_t *)c->scratch,
            .row = (int32_t)row,
            .rows = (int32_t)rows,
            .lines = ((int32_t)rows + 1) / 2,
        };
        b.sums = (int32_t *)b.plane + plane_lines(&b) * QNN_M0_PITCH;
        for (; b.column < (int32_t)c->out_w; b.column += widest) {
            b.columns = (int32_t)c->out_w - b.column;
            b.columns = b.columns < widest ? b.columns : widest;
            block(&b);
        }
        from += rows;
    }
}

#endif // QNN_M0

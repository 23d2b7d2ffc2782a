// Checks a file of kind 1 before anything of it is used. Each function returns the offset in the file of
// what is wrong through error->at.

#include "qnn_decode.h"

// Most MACs, or what takes about as long, of a unit.
#define MAX_UNIT (1u << 24)
// Most multipliers and chunks that are looked at: operators may share them, and a check cannot be cut short.
#define MAX_LOOKS (1u << 24)

typedef struct {
    const qnn_file_t *file;
    qnn_error_t *error;
    const uint8_t *p; // the operator being looked at
    uint32_t looks;
} check_t;

static int fail(check_t *c, int code, const uint8_t *at) {
    c->error->code = code;
    c->error->at = (uint32_t)(at - c->file->bytes);
    return code;
}

// Fails at word i of the operator.
static int fail_word(check_t *c, int code, unsigned i) {
    return fail(c, code, c->p + 4 * i);
}

static int in_arena(const qnn_file_t *f, uint32_t at, uint64_t size) {
    return at % 8 == 0 && at <= f->arena && size <= f->arena - at;
}

// Whether word i is the offset of `size` bytes of the data section.
static int data(check_t *c, unsigned i, uint64_t size, uint32_t align) {
    return qnn_in_data(c->file, qnn_word(c->p, i), size, align) ? QNN_OK : fail_word(c, QNN_E_DATA, i);
}

static int check_tensor(check_t *c, const uint8_t *p) {
    static const uint8_t sizes[] = {1, 1, 2, 4, 4};
    qnn_tensor_t t;
    qnn_read_tensor(p, 0, &t);
    if (t.type > QNN_FLOAT32) {
        return fail(c, QNN_E_TENSOR, p + 8);
    }
    if (t.rank > QNN_MAX_RANK) {
        return fail(c, QNN_E_TENSOR, p + 9);
    }
    if (qnn_u16(p + 10) != 0 || qnn_u32(p + 20) != 0) {
        return fail(c, QNN_E_RESERVED, qnn_u16(p + 10) != 0 ? p + 10 : p + 20);
    }
    uint64_t size = sizes[t.type];
    for (int i = 0; i < QNN_MAX_RANK; i++) {
        if (t.dims[i] == 0 || (i >= t.rank && t.dims[i] != 1)) {
            return fail(c, QNN_E_TENSOR, p + 24 + 4 * i);
        }
        size *= t.dims[i];
        if (size > t.size) {
            return fail(c, QNN_E_TENSOR, p + 4);
        }
    }
    if (size != t.size) {
        return fail(c, QNN_E_TENSOR, p + 4);
    }
    if (!in_arena(c->file, t.offset, t.size)) {
        return fail(c, QNN_E_ARENA, p);
    }
    // Sign, infinity and what is not a number.
    if (t.scale >> 31 || (t.scale >> 23) == 255) {
        return fail(c, QNN_E_SCALE, p + 12);
    }
    int32_t min = t.type == QNN_INT8 ? -128 : 0;
    if (t.type <= QNN_UINT8 && (t.zero_point < min || t.zero_point > min + 255)) {
        return fail(c, QNN_E_SCALE, p + 16);
    }
    return QNN_OK;
}

static int multiplier_ok(uint32_t multiplier, int shift) {
    return multiplier <= INT32_MAX && shift >= -31 && shift <= 30;
}

static int check_dense(check_t *c, const qnn_op_t *op, uint64_t weights) {
    const qnn_dense_t *d = &op->u.conv.dense;
    uint32_t n = d->scale.step ? d->channels : 1;
    if (weights == 0) {
        return fail_word(c, QNN_E_LAYOUT, 0);
    }
    if (d->scale.min > d->scale.max) {
        return fail_word(c, QNN_E_SCALE, 6);
    }
    if (qnn_word(c->p, 9) > 1) {
        return fail_word(c, QNN_E_RESERVED, 9);
    }
    if (data(c, 2, weights, 4) || data(c, 3, 4 * (uint64_t)d->channels, 4) || data(c, 4, 4 * (uint64_t)n, 4)
        || data(c, 5, n, 1)) {
        return c->error->code;
    }
    c->looks += n;
    if (n > MAX_LOOKS || c->looks > MAX_LOOKS) {
        return fail_word(c, QNN_E_VALUE, 4);
    }
    const uint8_t *multiplier = c->file->bytes + qnn_word(c->p, 4);
    const uint8_t *shift = c->file->bytes + qnn_word(c->p, 5);
    for (uint32_t i = 0; i < n; i++) {
        if (!multiplier_ok(qnn_u32(multiplier + 4 * i), (int8_t)shift[i])) {
            return fail(c, QNN_E_SCALE, multiplier + 4 * i);
        }
    }
    return QNN_OK;
}

// The product of both does not exceed max; sizes of tensors are below 2^30.
static int product_within(uint64_t a, uint64_t b, uint64_t max) {
    return a <= max && b <= max && a * b <= max;
}

static int overlaps(const qnn_tensor_t *t, uint32_t at, uint32_t len) {
    return len > 0 && at < t->offset + t->size && t->offset < at + len;
}

static int check_conv(check_t *c, const qnn_op_t *op) {
    const qnn_conv_t *v = &op->u.conv;
    int depthwise = op->code == QNN_DEPTHWISE_CONV_2D;
    uint64_t weights, scratch;
    if (op->x.type != QNN_INT8 || op->y.type != QNN_INT8) {
        return fail_word(c, QNN_E_SHAPE, 1);
    }
    if (op->code == QNN_FULLY_CONNECTED) {
        if ((uint64_t)v->batches * v->in_c != op->x.size || v->in_c > QNN_DEPTH_MAX) {
            return fail_word(c, QNN_E_SHAPE, 1);
        }
    } else {
        if (op->x.rank != 4 || op->y.rank != 4 || op->y.dims[0] != v->batches
            || (depthwise && v->out_c % v->in_c != 0)) {
            return fail_word(c, QNN_E_SHAPE, 1);
        }
        for (unsigned i = 10; i < 13; i++) {
            if (qnn_u16(c->p + 4 * i) == 0 || qnn_u16(c->p + 4 * i + 2) == 0) {
                return fail_word(c, QNN_E_VALUE, i);
            }
        }
        uint64_t window = (uint64_t)v->kernel_h * v->kernel_w;
        if (!product_within(window, depthwise ? 1 : v->in_c, QNN_DEPTH_MAX)) {
            return fail_word(c, QNN_E_VALUE, 10);
        }
    }
    if (depthwise) {
        weights = qnn_depthwise_weights(v->dense.layout, v->out_c, v->dense.depth);
        scratch = qnn_depthwise_scratch(v);
    } else if (op->code == QNN_CONV_2D) {
        weights = qnn_conv_weights(v->dense.layout, v->out_c, v->dense.depth);
        scratch = qnn_conv_scratch(v);
    } else {
        weights = qnn_fully_connected_weights(v->dense.layout, v->out_c, v->dense.depth);
        scratch = qnn_fully_connected_scratch(v);
    }
    if (check_dense(c, op, weights)) {
        return c->error->code;
    }
    if (v->dense.layout == QNN_LAYOUT_FOURS) {
        uint32_t at = qnn_word(c->p, 2);
        uint32_t left = c->file->data_len - (at - c->file->data);
        uint64_t lists = ((uint64_t)v->out_c + 3) / 4 * qnn_u32(c->file->bytes + at);
        if (lists > MAX_LOOKS || (c->looks += (uint32_t)lists) > MAX_LOOKS) {
            return fail_word(c, QNN_E_VALUE, 2);
        }
        if (!qnn_fours_valid(c->file->bytes + at, left, v->out_c, v->dense.depth)) {
            return fail_word(c, QNN_E_DATA, 2);
        }
    }
    if (!in_arena(c->file, op->scratch_at, v->scratch_len)) {
        return fail_word(c, QNN_E_ARENA, 7);
    }
    if (overlaps(&op->x, op->scratch_at, v->scratch_len) || overlaps(&op->y, op->scratch_at, v->scratch_len)) {
        return fail_word(c, QNN_E_SCRATCH, 7);
    }
    return v->scratch_len < scratch ? fail_word(c, QNN_E_SCRATCH, 8) : QNN_OK;
}

static int check_pool(check_t *c, const qnn_op_t *op) {
    const qnn_pool_t *v = &op->u.pool;
    if (op->x.type != QNN_INT8 || op->y.type != QNN_INT8 || op->x.rank != 4 || op->y.rank != 4
        || op->y.dims[0] != v->batches || op->y.dims[3] != v->channels
        || !product_within(v->in_h, v->in_w, 1 << 23)) {
        return fail_word(c, QNN_E_SHAPE, 1);
    }
    if (v->min > v->max) {
        return fail_word(c, QNN_E_SCALE, 2);
    }
    for (unsigned i = 3; i < 5; i++) {
        if (qnn_u16(c->p + 4 * i) == 0 || qnn_u16(c->p + 4 * i + 2) == 0) {
            return fail_word(c, QNN_E_VALUE, i);
        }
    }
    return QNN_OK;
}

// Loops of word i on, with their set k of strides at word j, stay within `size` bytes from `at` on.
static int check_loops(check_t *c, const qnn_loops_t *l, int k, unsigned i, unsigned j, uint64_t at,
    uint32_t size) {
    for (unsigned d = 0; d < 4; d++) {
        if (l->n[d] == 0) {
            return fail_word(c, QNN_E_VALUE, i + d);
        }
        at += (uint64_t)(l->n[d] - 1) * l->stride[k][d];
        if (at >= size) {
            return fail_word(c, QNN_E_SHAPE, j + d);
        }
    }
    return QNN_OK;
}

// The number of elements of all loops is `size`.
static int loops_count(const qnn_loops_t *l, uint32_t size) {
    uint64_t n = 1;
    for (int d = 0; d < 4; d++) {
        n *= l->n[d];
        if (n > size) {
            return 0;
        }
    }
    return n == size;
}

static int check_binary(check_t *c, const qnn_op_t *op) {
    const qnn_binary_t *b = &op->u.binary;
    if (op->x.type != QNN_INT8 || op->x2.type != QNN_INT8 || op->y.type != QNN_INT8) {
        return fail_word(c, QNN_E_SHAPE, 1);
    }
    if (b->min > b->max || b->left_shift > 20) {
        return fail_word(c, QNN_E_SCALE, b->min > b->max ? 4 : 8);
    }
    if (!multiplier_ok((uint32_t)b->multiplier1, b->shift1) || !multiplier_ok((uint32_t)b->multiplier2, b->shift2)
        || !multiplier_ok((uint32_t)b->multiplier, b->shift)) {
        return fail_word(c, QNN_E_SCALE, 5);
    }
    if (check_loops(c, &b->loops, 0, 9, 13, 0, op->x.size) || check_loops(c, &b->loops, 1, 9, 17, 0, op->x2.size)) {
        return c->error->code;
    }
    return loops_count(&b->loops, op->y.size) ? QNN_OK : fail_word(c, QNN_E_SHAPE, 9);
}

static int check_copy(check_t *c, const qnn_op_t *op) {
    const qnn_loops_t *l = &op->u.copy.loops;
    if (qnn_word(c->p, 2) != 0 && data(c, 2, 256, 4)) {
        return c->error->code;
    }
    if (check_loops(c, l, 0, 5, 9, qnn_word(c->p, 3), op->x.size)
        || check_loops(c, l, 1, 5, 13, qnn_word(c->p, 4), op->y.size)) {
        return c->error->code;
    }
    // No byte is written twice, so that work is bounded by what is there.
    uint64_t n = 1;
    for (int d = 0; d < 4; d++) {
        n *= l->n[d];
        if (n > op->y.size) {
            return fail_word(c, QNN_E_SHAPE, 5);
        }
    }
    return QNN_OK;
}

static int check_mean(check_t *c, const qnn_op_t *op) {
    const qnn_mean_t *m = &op->u.mean;
    if (op->x.type != QNN_INT8 || op->y.type != QNN_INT8 || op->x.size > 1 << 23) {
        return fail_word(c, QNN_E_SHAPE, 1);
    }
    if (data(c, 2, 255 * 4, 4)) {
        return c->error->code;
    }
    uint64_t at = 0;
    for (int d = 0; d < 4; d++) {
        at += ((uint64_t)m->kept.n[d] - 1) * m->kept.stride[0][d];
        if (m->kept.n[d] == 0 || at >= op->x.size) {
            return fail_word(c, QNN_E_SHAPE, 3 + d);
        }
    }
    if (check_loops(c, &m->reduced, 0, 11, 15, at, op->x.size)) {
        return c->error->code;
    }
    if (!loops_count(&m->kept, op->y.size)) {
        return fail_word(c, QNN_E_SHAPE, 3);
    }
    // Each element is read once.
    return loops_count(&m->reduced, op->x.size / op->y.size) ? QNN_OK : fail_word(c, QNN_E_SHAPE, 11);
}

static int check_softmax(check_t *c, const qnn_op_t *op) {
    uint32_t depth = op->u.softmax.depth;
    if (op->x.type != QNN_INT8 || op->y.type != QNN_INT8 || op->x.size != op->y.size) {
        return fail_word(c, QNN_E_SHAPE, 1);
    }
    if (depth == 0 || op->x.size % depth != 0) {
        return fail_word(c, QNN_E_SHAPE, 3);
    }
    return data(c, 2, 256 * 4, 4);
}

static int check_float(check_t *c, const qnn_op_t *op) {
    const qnn_tensor_t *f = op->code == QNN_QUANTIZE ? &op->x : &op->y;
    const qnn_tensor_t *q = op->code == QNN_QUANTIZE ? &op->y : &op->x;
    if (f->type != QNN_FLOAT32 || q->type > QNN_UINT8 || f->size / 4 != q->size) {
        return fail_word(c, QNN_E_SHAPE, 1);
    }
    if (op->code == QNN_DEQUANTIZE) {
        return data(c, 2, 256 * 4, 4);
    }
    // 2^-100 to the largest number.
    uint32_t scale = op->u.quantise.scale;
    if (scale < 27u << 23 || scale >= 255u << 23) {
        return fail_word(c, QNN_E_SCALE, 2);
    }
    int32_t zero = op->u.quantise.zero;
    return zero < op->u.quantise.min || zero > op->u.quantise.max ? fail_word(c, QNN_E_SCALE, 3) : QNN_OK;
}

static int check_op(check_t *c, const uint8_t *tensors, uint32_t count, uint64_t left) {
    const uint8_t *p = c->p;
    if (left < 4 || qnn_op_words(p[0]) == 0) {
        return fail(c, left < 4 ? QNN_E_BODY : QNN_E_OPERATOR, p);
    }
    if (qnn_u16(p + 2) != qnn_op_words(p[0]) || left < 4 * (uint64_t)qnn_u16(p + 2)) {
        return fail(c, QNN_E_OPERATOR, p + 2);
    }
    int binary = p[0] >= QNN_ADD && p[0] <= QNN_MUL;
    for (unsigned i = 4; i <= (binary ? 8u : 6u); i += 2) {
        if (qnn_u16(p + i) >= count) {
            return fail(c, QNN_E_INDEX, p + i);
        }
    }
    qnn_op_t op;
    qnn_decode(tensors, p, &op);
    int code = QNN_OK;
    switch (op.code) {
        case QNN_FULLY_CONNECTED:
        case QNN_CONV_2D:
        case QNN_DEPTHWISE_CONV_2D:
            code = check_conv(c, &op);
            break;
        case QNN_AVERAGE_POOL_2D:
        case QNN_MAX_POOL_2D:
            code = check_pool(c, &op);
            break;
        case QNN_ADD:
        case QNN_SUB:
        case QNN_MUL:
            code = check_binary(c, &op);
            break;
        case QNN_COPY:
            code = check_copy(c, &op);
            break;
        case QNN_FILL:
            code = qnn_word(p, 2) > 255 ? fail_word(c, QNN_E_VALUE, 2) : QNN_OK;
            break;
        case QNN_LOAD:
            code = data(c, 2, op.y.size, 4);
            break;
        case QNN_SOFTMAX:
            code = check_softmax(c, &op);
            break;
        case QNN_MEAN:
            code = check_mean(c, &op);
            break;
        case QNN_DEQUANTIZE:
        case QNN_QUANTIZE:
            code = check_float(c, &op);
            break;
    }
    // A step does at least one unit: that is what a hostile file can make it take.
    if (code == QNN_OK && (op.units == 0 || op.units > INT32_MAX || op.cost > MAX_UNIT)) {
        return fail(c, QNN_E_SHAPE, p + 4);
    }
    return code;
}

int qnn_check(const qnn_file_t *file, qnn_error_t *error) {
    check_t c = {file, error, NULL, 0};
    const uint8_t *body = file->bytes + file->body;
    error->code = QNN_OK;
    error->at = 0;
    if (file->kind != QNN_KIND_GRAPH) {
        return fail(&c, QNN_E_KIND, file->bytes + 6);
    }
    if (file->body_len < QNN_BODY_HEADER) {
        return fail(&c, QNN_E_BODY, file->bytes + 28);
    }
    uint32_t count = qnn_u16(body), operators = qnn_u16(body + 2);
    uint32_t inputs = qnn_u16(body + 4), outputs = qnn_u16(body + 6);
    uint32_t lists = QNN_BODY_HEADER + count * QNN_TENSOR_SIZE;
    uint32_t at = lists + ((inputs + outputs + 1) & ~1u) * 2;
    if (qnn_u32(body + 8) != 0 || qnn_u32(body + 12) != 0) {
        return fail(&c, QNN_E_RESERVED, body + 8);
    }
    if (at > file->body_len || inputs == 0 || outputs == 0) {
        return fail(&c, QNN_E_BODY, body);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (check_tensor(&c, body + QNN_BODY_HEADER + i * QNN_TENSOR_SIZE)) {
            return error->code;
        }
    }
    for (uint32_t i = 0; i < inputs + outputs; i++) {
        if (qnn_u16(body + lists + 2 * i) >= count) {
            return fail(&c, QNN_E_INDEX, body + lists + 2 * i);
        }
    }
    for (; operators > 0; operators--) {
        c.p = body + at;
        if (check_op(&c, body + QNN_BODY_HEADER, count, file->body_len - at)) {
            return error->code;
        }
        at += 4 * qnn_u16(c.p + 2);
    }
    return at == file->body_len ? QNN_OK : fail(&c, QNN_E_BODY, body + at);
}

// From the words of an operator to what its kernel takes.

#include "qnn_decode.h"

unsigned qnn_op_words(uint8_t code) {
    switch (code) {
        case QNN_FULLY_CONNECTED:
            return 10;
        case QNN_CONV_2D:
        case QNN_DEPTHWISE_CONV_2D:
            return 14;
        case QNN_AVERAGE_POOL_2D:
        case QNN_MAX_POOL_2D:
            return 6;
        case QNN_ADD:
        case QNN_SUB:
        case QNN_MUL:
            return 21;
        case QNN_COPY:
            return 17;
        case QNN_FILL:
        case QNN_DEQUANTIZE:
        case QNN_LOAD:
            return 3;
        case QNN_SOFTMAX:
        case QNN_QUANTIZE:
            return 4;
        case QNN_MEAN:
            return 19;
        default:
            return 0;
    }
}

void qnn_read_tensor(const uint8_t *tensors, uint32_t index, qnn_tensor_t *t) {
    const uint8_t *p = tensors + index * QNN_TENSOR_SIZE;
    t->offset = qnn_u32(p);
    t->size = qnn_u32(p + 4);
    t->type = p[8];
    t->rank = p[9];
    t->scale = qnn_u32(p + 12);
    t->zero_point = (int32_t)qnn_u32(p + 16);
    for (int i = 0; i < QNN_MAX_RANK; i++) {
        t->dims[i] = qnn_u32(p + 24 + 4 * i);
    }
}

static int32_t byte(uint32_t word, int i) {
    return (int8_t)(word >> (8 * i));
}

static void decode_dense(const uint8_t *p, qnn_dense_t *d) {
    uint32_t w = qnn_word(p, 6);
    d->layout = p[1];
    d->x_zero = byte(w, 0);
    d->scale.zero = byte(w, 1);
    d->scale.min = byte(w, 2);
    d->scale.max = byte(w, 3);
    d->scale.step = qnn_word(p, 9) & 1 ? 0 : 1;
}

static void decode_conv(const uint8_t *p, qnn_op_t *op) {
    qnn_conv_t *c = &op->u.conv;
    const uint32_t *in = op->x.dims, *out = op->y.dims;
    decode_dense(p, &c->dense);
    op->scratch_at = qnn_word(p, 7);
    c->scratch_len = qnn_word(p, 8);
    if (op->code == QNN_FULLY_CONNECTED) {
        c->out_c = c->dense.channels = op->y.rank ? out[op->y.rank - 1] : 1;
        c->batches = op->y.size / c->out_c;
        c->in_c = c->dense.depth = op->x.size / c->batches;
        // Groups of four channels.
        op->units = (c->out_c + 3) / 4;
        op->cost = 4 * (uint64_t)c->in_c * c->batches;
        return;
    }
    c->batches = in[0];
    c->in_h = in[1];
    c->in_w = in[2];
    c->in_c = in[3];
    c->out_h = out[1];
    c->out_w = out[2];
    c->out_c = c->dense.channels = out[3];
    c->kernel_h = qnn_u16(p + 40);
    c->kernel_w = qnn_u16(p + 42);
    c->stride_h = qnn_u16(p + 44);
    c->stride_w = qnn_u16(p + 46);
    c->dilation_h = qnn_u16(p + 48);
    c->dilation_w = qnn_u16(p + 50);
    c->pad_top = qnn_u16(p + 52);
    c->pad_left = qnn_u16(p + 54);
    c->dense.depth = c->kernel_h * c->kernel_w;
    op->units = (uint64_t)c->batches * c->out_h;
    op->cost = (uint64_t)c->out_c * c->dense.depth;
    if (op->code == QNN_CONV_2D) {
        // Wraps only where the check has refused the operator before it looks at this.
        c->dense.depth *= c->in_c;
        op->cost *= c->in_c;
        op->units *= c->out_w;
    } else {
        op->cost *= c->out_w;
    }
}

static void decode_pool(const uint8_t *p, qnn_op_t *op) {
    qnn_pool_t *o = &op->u.pool;
    const uint32_t *in = op->x.dims, *out = op->y.dims;
    o->batches = in[0];
    o->in_h = in[1];
    o->in_w = in[2];
    o->channels = in[3];
    o->out_h = out[1];
    o->out_w = out[2];
    o->min = byte(qnn_word(p, 2), 2);
    o->max = byte(qnn_word(p, 2), 3);
    o->kernel_h = qnn_u16(p + 12);
    o->kernel_w = qnn_u16(p + 14);
    o->stride_h = qnn_u16(p + 16);
    o->stride_w = qnn_u16(p + 18);
    o->pad_top = qnn_u16(p + 20);
    o->pad_left = qnn_u16(p + 22);
    uint64_t window = (uint64_t)(o->kernel_h < o->in_h ? o->kernel_h : o->in_h)
        * (o->kernel_w < o->in_w ? o->kernel_w : o->in_w);
    op->units = (uint64_t)o->batches * o->out_h;
    op->cost = window * o->out_w * o->channels;
}

// Four sizes and up to two times four strides from word i on.
static void decode_loops(const uint8_t *p, unsigned i, int strides, qnn_loops_t *l) {
    for (int k = 0; k < 4; k++) {
        l->n[k] = qnn_word(p, i + k);
        l->stride[0][k] = qnn_word(p, i + 4 + k);
        l->stride[1][k] = strides > 1 ? qnn_word(p, i + 8 + k) : 0;
    }
}

static void decode_binary(const uint8_t *p, qnn_op_t *op) {
    qnn_binary_t *b = &op->u.binary;
    uint32_t zeros = qnn_word(p, 3), range = qnn_word(p, 4), shifts = qnn_word(p, 8);
    b->zero1 = byte(zeros, 0);
    b->zero2 = byte(zeros, 1);
    b->zero = byte(zeros, 2);
    b->min = byte(range, 0);
    b->max = byte(range, 1);
    b->multiplier1 = (int32_t)qnn_word(p, 5);
    b->multiplier2 = (int32_t)qnn_word(p, 6);
    b->multiplier = (int32_t)qnn_word(p, 7);
    b->shift1 = (int8_t)byte(shifts, 0);
    b->shift2 = (int8_t)byte(shifts, 1);
    b->shift = (int8_t)byte(shifts, 2);
    b->left_shift = (uint8_t)(shifts >> 24);
    decode_loops(p, 9, 2, &b->loops);
    op->cost = 8 * QNN_CHUNK;
}

static void flat(qnn_loops_t *l, uint32_t size) {
    for (int k = 0; k < 3; k++) {
        l->n[k] = 1;
        l->stride[0][k] = l->stride[1][k] = 0;
    }
    l->n[3] = size;
    l->stride[0][3] = l->stride[1][3] = 1;
}

void qnn_decode(const uint8_t *tensors, const uint8_t *p, qnn_op_t *op) {
    op->code = p[0];
    qnn_read_tensor(tensors, qnn_u16(p + 4), &op->x);
    qnn_read_tensor(tensors, qnn_u16(p + 6), &op->y);
    op->cost = QNN_CHUNK;
    switch (op->code) {
        case QNN_FULLY_CONNECTED:
        case QNN_CONV_2D:
        case QNN_DEPTHWISE_CONV_2D:
            decode_conv(p, op);
            break;
        case QNN_AVERAGE_POOL_2D:
        case QNN_MAX_POOL_2D:
            decode_pool(p, op);
            break;
        case QNN_ADD:
        case QNN_SUB:
        case QNN_MUL:
            qnn_read_tensor(tensors, qnn_u16(p + 8), &op->x2);
            decode_binary(p, op);
            op->units = qnn_chunks(&op->u.binary.loops);
            break;
        case QNN_COPY:
            decode_loops(p, 5, 2, &op->u.copy.loops);
            op->units = qnn_chunks(&op->u.copy.loops);
            break;
        case QNN_FILL:
        case QNN_LOAD:
            op->value = p[8];
            flat(&op->u.copy.loops, op->y.size);
            op->units = qnn_chunks(&op->u.copy.loops);
            break;
        case QNN_SOFTMAX:
            op->u.softmax.depth = qnn_word(p, 3);
            op->units = op->u.softmax.depth ? op->x.size / op->u.softmax.depth : 0;
            op->cost = 16 * (uint64_t)op->u.softmax.depth;
            break;
        case QNN_MEAN: {
            qnn_mean_t *m = &op->u.mean;
            decode_loops(p, 3, 1, &m->kept);
            decode_loops(p, 11, 1, &m->reduced);
            op->units = op->y.size;
            op->cost = 16 + (uint64_t)m->reduced.n[0] * m->reduced.n[1] * m->reduced.n[2] * m->reduced.n[3];
            break;
        }
        case QNN_DEQUANTIZE:
            op->u.dequantise.size = op->x.size;
            op->units = (op->x.size + QNN_CHUNK - 1) / QNN_CHUNK;
            break;
        case QNN_QUANTIZE: {
            qnn_quantise_t *q = &op->u.quantise;
            q->scale = qnn_word(p, 2);
            q->zero = (int32_t)qnn_word(p, 3);
            q->min = op->y.type == QNN_UINT8 ? 0 : -128;
            q->max = q->min + 255;
            q->size = op->y.size;
            op->units = (op->y.size + QNN_CHUNK - 1) / QNN_CHUNK;
            op->cost = 32 * QNN_CHUNK;
            break;
        }
    }
}

void qnn_bind(const uint8_t *file, uint8_t *arena, const uint8_t *p, qnn_op_t *op) {
    const int8_t *x = (const int8_t *)arena + op->x.offset;
    int8_t *y = (int8_t *)arena + op->y.offset;
    // Tables are aligned to 4 in the file, the file in memory, tensors to 8 in the arena.
    const void *table = file + qnn_word(p, 2);
    switch (op->code) {
        case QNN_FULLY_CONNECTED:
        case QNN_CONV_2D:
        case QNN_DEPTHWISE_CONV_2D: {
            qnn_conv_t *c = &op->u.conv;
            c->x = x;
            c->y = y;
            c->scratch = arena + op->scratch_at;
            c->dense.weights = table;
            c->dense.scale.bias = (const void *)(file + qnn_word(p, 3));
            c->dense.scale.multiplier = (const void *)(file + qnn_word(p, 4));
            c->dense.scale.shift = (const void *)(file + qnn_word(p, 5));
            break;
        }
        case QNN_AVERAGE_POOL_2D:
        case QNN_MAX_POOL_2D:
            op->u.pool.x = x;
            op->u.pool.y = y;
            break;
        case QNN_ADD:
        case QNN_SUB:
        case QNN_MUL:
            op->u.binary.x1 = x;
            op->u.binary.x2 = (const int8_t *)arena + op->x2.offset;
            op->u.binary.y = y;
            break;
        case QNN_COPY:
            op->u.copy.x = (const uint8_t *)x + qnn_word(p, 3);
            op->u.copy.y = (uint8_t *)y + qnn_word(p, 4);
            op->u.copy.table = qnn_word(p, 2) ? table : NULL;
            break;
        case QNN_FILL:
        case QNN_LOAD:
            op->u.copy.x = table;
            op->u.copy.y = (uint8_t *)y;
            op->u.copy.table = NULL;
            break;
        case QNN_SOFTMAX:
            op->u.softmax.x = x;
            op->u.softmax.y = y;
            op->u.softmax.exp = table;
            break;
        case QNN_MEAN:
            op->u.mean.x = x;
            op->u.mean.y = y;
            op->u.mean.threshold = table;
            break;
        case QNN_DEQUANTIZE:
            op->u.dequantise.x = (const uint8_t *)x;
            op->u.dequantise.y = (uint32_t *)(void *)y;
            op->u.dequantise.table = table;
            break;
        case QNN_QUANTIZE:
            op->u.quantise.x = (const uint32_t *)(const void *)x;
            op->u.quantise.y = (uint8_t *)y;
            break;
    }
}

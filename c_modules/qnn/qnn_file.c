// The container of every kind of model.

#include "qnn_core.h"

const char *qnn_error_text(int code) {
    switch (code) {
        case QNN_OK:
            return "no error";
        case QNN_E_MAGIC:
            return "not a model (.mgm)";
        case QNN_E_VERSION:
            return "unknown version of the format";
        case QNN_E_KIND:
            return "a model of another kind";
        case QNN_E_SHORT:
            return "file is cut short";
        case QNN_E_SECTION:
            return "sections overlap or are out of order";
        case QNN_E_RESERVED:
            return "reserved field is not 0";
        case QNN_E_ALIGN:
            return "file is not aligned to 4 bytes in memory";
        case QNN_E_BODY:
            return "counts do not fit into the body";
        case QNN_E_TENSOR:
            return "bad tensor";
        case QNN_E_INDEX:
            return "no such tensor";
        case QNN_E_OPERATOR:
            return "unknown operator";
        case QNN_E_LAYOUT:
            return "unknown layout of weights";
        case QNN_E_SHAPE:
            return "shapes or types do not fit together";
        case QNN_E_DATA:
            return "weights or table outside the data";
        case QNN_E_SCALE:
            return "multiplier, shift or range out of bounds";
        case QNN_E_SCRATCH:
            return "scratch memory too small or in use";
        case QNN_E_ARENA:
            return "outside the arena";
        case QNN_E_NODE:
            return "a feature, child or class that is not there";
        default:
            return "parameter out of bounds";
    }
}

static int fail(qnn_error_t *error, int code, uint32_t at) {
    error->code = code;
    error->at = at;
    return code;
}

int qnn_open(qnn_file_t *f, const uint8_t *p, size_t size, qnn_error_t *error) {
    fail(error, QNN_OK, 0);
    // What is too short for a header, but begins like a model, is one cut short.
    for (unsigned i = 0; i < 4; i++) {
        if (i >= size) {
            return fail(error, QNN_E_SHORT, i);
        }
        if (p[i] != (uint8_t)"MGM1"[i]) {
            return fail(error, QNN_E_MAGIC, 0);
        }
    }
    if (size < 96) {
        return fail(error, QNN_E_SHORT, (uint32_t)size);
    }
    if (((uintptr_t)p & 3) != 0) {
        return fail(error, QNN_E_ALIGN, 0);
    }
    f->bytes = p;
    f->kind = (uint16_t)qnn_u16(p + 6);
    f->size = qnn_u32(p + 8);
    f->meta = qnn_u32(p + 16);
    f->meta_len = qnn_u32(p + 20);
    f->body = qnn_u32(p + 24);
    f->body_len = qnn_u32(p + 28);
    f->data = qnn_u32(p + 32);
    f->data_len = qnn_u32(p + 36);
    f->arena = qnn_u32(p + 40);
    f->macs = qnn_u32(p + 44);
    if (qnn_u16(p + 4) != 1) {
        return fail(error, QNN_E_VERSION, 4);
    }
    if (f->kind < QNN_KIND_GRAPH || f->kind > QNN_KIND_LLAMA) {
        return fail(error, QNN_E_KIND, 6);
    }
    if (f->size < 96) {
        return fail(error, QNN_E_SECTION, 8);
    }
    if (f->size > size) {
        return fail(error, QNN_E_SHORT, 8);
    }
    if (qnn_u32(p + 12) != 0) {
        return fail(error, QNN_E_RESERVED, 12);
    }
    for (uint32_t i = 80; i < 96; i++) {
        if (p[i] != 0) {
            return fail(error, QNN_E_RESERVED, i);
        }
    }
    uint32_t end = 96;
    for (uint32_t i = 16; i < 40; i += 8) {
        uint32_t at = qnn_u32(p + i), len = qnn_u32(p + i + 4);
        if (at % 16 != 0 || at < end || at > f->size || at - end >= 16) {
            return fail(error, QNN_E_SECTION, i);
        }
        if (len > f->size - at) {
            return fail(error, QNN_E_SECTION, i + 4);
        }
        end = at + len;
    }
    // So that sizes fit 32 bits everywhere.
    if (f->arena % 8 != 0 || f->arena > 0x40000000) {
        return fail(error, QNN_E_ARENA, 40);
    }
    return QNN_OK;
}

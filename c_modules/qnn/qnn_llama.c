#include "qnn_llama.h"

#include <string.h>

#include "qnn_llama_math.h"

// What keeps every sum in this module within 32 bits.
#define MAX_DIM (8192)
#define MAX_WIDE (16384)
#define MAX_LAYERS (256)
#define MAX_HEADS (256)
#define MAX_SIZE (256)
#define MAX_VOCAB (1u << 18)
#define MAX_POSITIONS (32768)
#define MAX_EXPONENT (64)

#define PARAMETERS (64)

typedef struct {
    const qnn_llama_t *m;
    const qnn_file_t *file;
    qnn_error_t *error;
} check_t;

static int fail(const check_t *c, int code, const uint8_t *at) {
    c->error->code = code;
    c->error->at = (uint32_t)(at - c->m->bytes);
    return code;
}

static uint32_t padded(uint32_t n, uint32_t to) {
    return (n + to - 1) / to * to;
}

static int bad_exponent(const uint8_t *at) {
    return qnn_u32(at) + MAX_EXPONENT > 2 * MAX_EXPONENT;
}

// One entry; columns is 0 for gains.
static int check_tensor(const check_t *c, const uint8_t *e, uint32_t rows, uint32_t columns) {
    uint32_t type = qnn_u32(e);
    uint64_t length, scales = 0;
    if (columns == 0) {
        if (type != (c->m->is_float ? QNN_LLAMA_F32 : QNN_LLAMA_INT16)) {
            return fail(c, QNN_E_TENSOR, e);
        }
        length = (uint64_t)rows * (c->m->is_float ? 4 : 2);
    } else if (c->m->is_float) {
        if (type != QNN_LLAMA_F32) {
            return fail(c, QNN_E_TENSOR, e);
        }
        length = (uint64_t)rows * columns * 4;
    } else if (type == QNN_LLAMA_ROW) {
        length = (uint64_t)rows * padded(columns, 16);
        scales = (uint64_t)rows * 2;
    } else if (type == QNN_LLAMA_GROUP || type == QNN_LLAMA_NIBBLE) {
        length = (uint64_t)rows * padded(columns, 32);
        scales = length / 16;
        length /= type == QNN_LLAMA_NIBBLE ? 2 : 1;
    } else {
        return fail(c, QNN_E_TENSOR, e);
    }
    if (!qnn_in_data(c->file, qnn_u32(e + 4), length, 4)) {
        return fail(c, QNN_E_DATA, e + 4);
    }
    if (scales == 0 ? qnn_u32(e + 8) != 0 : !qnn_in_data(c->file, qnn_u32(e + 8), scales, 4)) {
        return fail(c, QNN_E_DATA, e + 8);
    }
    if (bad_exponent(e + 12)) {
        return fail(c, QNN_E_SCALE, e + 12);
    }
    return QNN_OK;
}

static int check_sizes(qnn_llama_t *m, const check_t *c, const uint8_t *body) {
    uint32_t *const to[] = { &m->dim, &m->hidden, &m->layers, &m->heads, &m->kv_heads, &m->size, &m->vocab,
        &m->max_positions };
    static const uint32_t most[] = { MAX_DIM, MAX_WIDE, MAX_LAYERS, MAX_HEADS, MAX_HEADS, MAX_SIZE, MAX_VOCAB,
        MAX_POSITIONS };
    for (uint32_t i = 0; i < sizeof(most) / sizeof(most[0]); i++) {
        *to[i] = qnn_u32(body + 4 * i);
        if (*to[i] == 0 || *to[i] > most[i]) {
            return fail(c, QNN_E_VALUE, body + 4 * i);
        }
    }
    if (m->dim % 4 != 0) {
        return fail(c, QNN_E_VALUE, body);
    }
    if (m->heads % m->kv_heads != 0) {
        return fail(c, QNN_E_VALUE, body + 16);
    }
    if (m->size % 4 != 0 || m->heads * m->size > MAX_WIDE) {
        return fail(c, QNN_E_VALUE, body + 20);
    }
    m->eps = qnn_u32(body + 32);
    m->bos = qnn_u32(body + 36);
    m->eos = qnn_u32(body + 40);
    m->is_float = qnn_u32(body + 48);
    for (uint32_t i = 36; i < 44; i += 4) {
        uint32_t id = qnn_u32(body + i);
        if (id >= m->vocab && id != QNN_LLAMA_NONE) {
            return fail(c, QNN_E_VALUE, body + i);
        }
    }
    if (m->is_float > QNN_LLAMA_FLOAT) {
        return fail(c, QNN_E_TENSOR, body + 48);
    }
    uint64_t turns = (uint64_t)m->max_positions * m->size * (m->is_float ? 4 : 2);
    if (!qnn_in_data(c->file, qnn_u32(body + 44), turns, 4)) {
        return fail(c, QNN_E_DATA, body + 44);
    }
    m->to_log2.m = qnn_u32(body + 52);
    m->to_log2.e = (int32_t)qnn_u32(body + 56);
    if (m->to_log2.m >> 15 != 1) {
        return fail(c, QNN_E_SCALE, body + 52);
    }
    if (bad_exponent(body + 56)) {
        return fail(c, QNN_E_SCALE, body + 56);
    }
    if (qnn_u32(body + 60) != 0) {
        return fail(c, QNN_E_RESERVED, body + 60);
    }
    return QNN_OK;
}

static int check_tensors(const qnn_llama_t *m, const check_t *c) {
    uint32_t q = m->heads * m->size, kv = m->kv_heads * m->size;
    const struct { uint32_t rows, columns; } shapes[QNN_LLAMA_PER_LAYER] = {
        { m->dim, 0 }, { q, m->dim }, { kv, m->dim }, { kv, m->dim }, { m->dim, q },
        { m->dim, 0 }, { m->hidden, m->dim }, { m->dim, m->hidden }, { m->hidden, m->dim },
    };
    const uint8_t *e = m->entries;
    if (check_tensor(c, e, m->vocab, m->dim) || check_tensor(c, e + QNN_LLAMA_ENTRY, m->vocab, m->dim)
        || check_tensor(c, e + 2 * QNN_LLAMA_ENTRY, m->dim, 0)) {
        return c->error->code;
    }
    for (uint32_t i = 0; i < m->layers; i++) {
        e = qnn_llama_layer(m, i);
        for (uint32_t j = 0; j < QNN_LLAMA_PER_LAYER; j++, e += QNN_LLAMA_ENTRY) {
            if (check_tensor(c, e, shapes[j].rows, shapes[j].columns)) {
                return c->error->code;
            }
        }
        for (uint32_t j = 0; j < 8; j += 4) {
            if (bad_exponent(e + j)) {
                return fail(c, QNN_E_SCALE, e + j);
            }
        }
    }
    return QNN_OK;
}

int qnn_llama_open(qnn_llama_t *m, const qnn_file_t *file, qnn_error_t *error) {
    memset(m, 0, sizeof(*m));
    m->bytes = file->bytes;
    const uint8_t *body = file->bytes + file->body;
    check_t c = { m, file, error };
    error->code = QNN_OK;
    error->at = 0;
    if (file->kind != QNN_KIND_LLAMA) {
        return fail(&c, QNN_E_KIND, file->bytes + 6);
    }
    if (file->body_len < PARAMETERS) {
        return fail(&c, QNN_E_BODY, file->bytes + 28);
    }
    if (check_sizes(m, &c, body)) {
        return error->code;
    }
    m->entries = body + PARAMETERS;
    uint32_t entries = QNN_LLAMA_LAYER * QNN_LLAMA_ENTRY + m->layers * QNN_LLAMA_LAYER_BYTES;
    if (file->body_len != PARAMETERS + entries) {
        return fail(&c, QNN_E_BODY, file->bytes + 28);
    }
    m->turns = file->bytes + qnn_u32(body + 44);
    uint32_t q = m->heads * m->size;
    m->wide = m->dim > m->hidden ? m->dim : m->hidden;
    m->wide = padded(m->wide > q ? m->wide : q, 32);
    if (check_tensors(m, &c)) {
        return error->code;
    }
    if (file->arena != qnn_llama_state(m, m->max_positions)) {
        return fail(&c, QNN_E_ARENA, file->bytes + 40);
    }
    return QNN_OK;
}

static uint32_t kv_dim(const qnn_llama_t *m) {
    return m->kv_heads * m->size;
}

// State without what grows with the positions.
static uint64_t base_bytes(const qnn_llama_t *m) {
    uint64_t words = (uint64_t)m->dim + 2 * m->wide + 2 * kv_dim(m) + m->vocab;
    uint64_t own = m->is_float ? 4 * m->wide : (uint64_t)4 * m->layers * kv_dim(m) + 3 * m->wide + m->wide / 8;
    return 4 * words + own;
}

static uint64_t position_bytes(const qnn_llama_t *m) {
    uint64_t each = m->is_float ? 8 * kv_dim(m) : 2 * kv_dim(m) + 4 * m->kv_heads;
    return each * m->layers + 4;
}

uint64_t qnn_llama_state(const qnn_llama_t *m, uint32_t positions) {
    return (base_bytes(m) + position_bytes(m) * positions + 7) / 8 * 8;
}

uint32_t qnn_llama_init(qnn_llama_t *m, void *state, size_t size) {
    uint64_t base = base_bytes(m);
    m->positions = 0;
    m->pos = 0;
    m->ready = 0;
    m->stage = 0;
    // Its size is a multiple of 8; so much of the caller's memory counts.
    size &= ~(size_t)7;
    if (size < base) {
        return 0;
    }
    uint64_t room = (size - base) / position_bytes(m);
    uint32_t n = room < m->max_positions ? (uint32_t)room : m->max_positions;
    int32_t *p = state;
    m->x = p;
    m->b1 = m->x + m->dim;
    m->b2 = m->b1 + m->wide;
    m->kv = m->b2 + m->wide;
    m->logits = m->kv + 2 * kv_dim(m);
    m->scores = m->logits + m->vocab;
    p = m->scores + n;
    if (m->is_float) {
        // Outputs of the heads; then float32 keys and values.
        m->first = p;
        m->keys = (uint8_t *)(p + m->wide);
        m->values = (int8_t *)(m->keys + (size_t)4 * m->layers * n * kv_dim(m));
    } else {
        m->first = p;
        m->pairs = (uint32_t *)(p + m->layers * kv_dim(m));
        m->sums = (int32_t *)(m->pairs + m->wide / 2);
        m->key_scales = (uint16_t *)(m->sums + m->wide / 32);
        m->value_scales = m->key_scales + (size_t)m->layers * n * m->kv_heads;
        m->keys = (uint8_t *)(m->value_scales + (size_t)m->layers * n * m->kv_heads);
        m->values = (int8_t *)(m->keys + (size_t)m->layers * n * kv_dim(m));
        m->q = m->values + (size_t)m->layers * n * kv_dim(m);
    }
    m->positions = n;
    return n;
}

void qnn_llama_feed(qnn_llama_t *m, uint32_t token, int logits) {
    m->token = token;
    m->wanted = logits != 0;
    m->stage = 0;
    m->ready = 0;
}

void qnn_llama_tensor(const qnn_llama_t *m, const uint8_t *entry, uint32_t rows, uint32_t columns,
    qnn_llama_tensor_t *t) {
    t->type = qnn_u32(entry);
    t->data = m->bytes + qnn_u32(entry + 4);
    t->scales = (const int16_t *)(const void *)(m->bytes + qnn_u32(entry + 8));
    t->exponent = (int32_t)qnn_u32(entry + 12);
    t->rows = rows;
    t->columns = t->type == QNN_LLAMA_ROW ? padded(columns, 16) : t->type == QNN_LLAMA_F32 ? columns : padded(columns, 32);
}

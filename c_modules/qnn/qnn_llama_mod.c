// Llama of the module _qnn: a model of kind 4 with the memory that a text is made in. Every argument is
// checked here; the core trusts its own.

#include "qnn_llama_mod.h"

#include <string.h>

#include "qnn_llama.h"

typedef struct {
    mp_obj_base_t base;
    // The garbage collector finds the two through these, not through the pointers of `m`.
    mp_obj_t buffer;
    mp_obj_t state;
    void *memory;
    size_t size;
    size_t room;
    uint32_t random;
    bool busy; // a token was fed and is not complete
    qnn_llama_t m;
} llama_t;

static void open_model(mp_obj_t buffer, qnn_llama_t *m, size_t *size) {
    mp_buffer_info_t info;
    mp_get_buffer_raise(buffer, &info, MP_BUFFER_READ);
    qnn_file_t file;
    qnn_error_t error;
    if (qnn_open(&file, info.buf, info.len, &error) != QNN_OK || qnn_llama_open(m, &file, &error) != QNN_OK) {
        qnn_raise(&error);
    }
    *size = file.size;
}

// llama_state(buf, positions) -> (positions, no more than the model has, bytes of state for so many)
static mp_obj_t llama_state(mp_obj_t buffer, mp_obj_t positions) {
    qnn_llama_t m;
    size_t size;
    open_model(buffer, &m, &size);
    mp_int_t n = mp_obj_get_int(positions);
    if (n < 1) {
        mp_raise_ValueError(MP_ERROR_TEXT("no such number of positions"));
    }
    uint32_t most = (mp_uint_t)n < m.max_positions ? (uint32_t)n : m.max_positions;
    mp_obj_t items[2] = {
        MP_OBJ_NEW_SMALL_INT(most),
        mp_obj_new_int_from_uint((mp_uint_t)qnn_llama_state(&m, most)),
    };
    return mp_obj_new_tuple(2, items);
}
MP_DEFINE_CONST_FUN_OBJ_2(qnn_llama_state_obj, llama_state);

// Llama(buf, state): buf holds one file of kind 4 and stays as it is; state is a bytearray, and how long it is
// says how many positions there are.
mp_obj_t qnn_llama_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    mp_arg_check_num(n_args, n_kw, 2, 2, false);
    qnn_llama_t m;
    size_t size;
    open_model(args[0], &m, &size);
    mp_buffer_info_t info;
    mp_get_buffer_raise(args[1], &info, MP_BUFFER_RW);
    if (((uintptr_t)info.buf & 7) != 0) {
        mp_raise_ValueError(MP_ERROR_TEXT("state not aligned to 8"));
    }
    if (qnn_llama_init(&m, info.buf, info.len) == 0) {
        mp_raise_ValueError(MP_ERROR_TEXT("state too small for one position"));
    }
    llama_t *self = mp_obj_malloc_helper(sizeof(llama_t), type);
    self->buffer = args[0];
    self->state = args[1];
    self->memory = info.buf;
    self->size = size;
    self->room = info.len;
    self->random = 1;
    self->busy = false;
    self->m = m;
    return MP_OBJ_FROM_PTR(self);
}

// A bytearray moves when it grows; the state's pointers are not worth keeping up with that.
static llama_t *llama(mp_obj_t self_in) {
    llama_t *self = MP_OBJ_TO_PTR(self_in);
    mp_buffer_info_t info;
    mp_get_buffer_raise(self->buffer, &info, MP_BUFFER_READ);
    if (info.buf != self->m.bytes || info.len < self->size) {
        mp_raise_ValueError(MP_ERROR_TEXT("model has moved"));
    }
    mp_get_buffer_raise(self->state, &info, MP_BUFFER_RW);
    if (info.buf != self->memory || info.len < self->room) {
        mp_raise_ValueError(MP_ERROR_TEXT("state has moved"));
    }
    return self;
}

static llama_t *ready(mp_obj_t self_in) {
    llama_t *self = llama(self_in);
    if (!self->m.ready) {
        mp_raise_ValueError(MP_ERROR_TEXT("no logits: feed() and step() come first"));
    }
    return self;
}

static mp_obj_t token_id(uint32_t id) {
    return MP_OBJ_NEW_SMALL_INT(id == QNN_LLAMA_NONE ? -1 : (mp_int_t)id);
}

// info() -> (tokens in the vocabulary, positions, most positions, bos or -1, eos or -1)
static mp_obj_t llama_info(mp_obj_t self_in) {
    const qnn_llama_t *m = &llama(self_in)->m;
    mp_obj_t items[5] = {
        MP_OBJ_NEW_SMALL_INT(m->vocab),
        MP_OBJ_NEW_SMALL_INT(m->positions),
        MP_OBJ_NEW_SMALL_INT(m->max_positions),
        token_id(m->bos),
        token_id(m->eos),
    };
    return mp_obj_new_tuple(5, items);
}
MP_DEFINE_CONST_FUN_OBJ_1(qnn_llama_info_obj, llama_info);

// pos() -> tokens that were taken in
static mp_obj_t llama_pos(mp_obj_t self_in) {
    return MP_OBJ_NEW_SMALL_INT(llama(self_in)->m.pos);
}
MP_DEFINE_CONST_FUN_OBJ_1(qnn_llama_pos_obj, llama_pos);

// rewind(pos): go back in the text
static mp_obj_t llama_rewind(mp_obj_t self_in, mp_obj_t pos) {
    llama_t *self = llama(self_in);
    mp_int_t n = mp_obj_get_int(pos);
    if (n < 0 || n > (mp_int_t)self->m.pos) {
        mp_raise_ValueError(MP_ERROR_TEXT("no such position"));
    }
    self->m.pos = (uint32_t)n;
    self->m.ready = 0;
    self->busy = false;
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(qnn_llama_rewind_obj, llama_rewind);

// feed(token, logits=True): start on the next token; step() follows. logits: whether they are wanted
static mp_obj_t llama_feed(size_t n_args, const mp_obj_t *args) {
    llama_t *self = llama(args[0]);
    mp_int_t id = mp_obj_get_int(args[1]);
    if (id < 0 || id >= (mp_int_t)self->m.vocab) {
        mp_raise_ValueError(MP_ERROR_TEXT("no such token"));
    }
    if (self->m.pos >= self->m.positions) {
        mp_raise_ValueError(MP_ERROR_TEXT("no room for another token"));
    }
    qnn_llama_feed(&self->m, (uint32_t)id, n_args < 3 || mp_obj_is_true(args[2]));
    self->busy = true;
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(qnn_llama_feed_obj, 2, 3, llama_feed);

// step() -> whether more remains of the token: half a layer, or a part of the classifier
static mp_obj_t llama_step(mp_obj_t self_in) {
    llama_t *self = llama(self_in);
    if (self->busy) {
        self->busy = qnn_llama_step(&self->m);
    }
    return mp_obj_new_bool(self->busy);
}
MP_DEFINE_CONST_FUN_OBJ_1(qnn_llama_step_obj, llama_step);

// best() -> the most likely token
static mp_obj_t llama_best(mp_obj_t self_in) {
    return token_id(qnn_llama_best(&ready(self_in)->m));
}
MP_DEFINE_CONST_FUN_OBJ_1(qnn_llama_best_obj, llama_best);

// seed(number): begin the random numbers of sample() anew
static mp_obj_t llama_seed(mp_obj_t self_in, mp_obj_t number) {
    llama(self_in)->random = (uint32_t)mp_obj_get_int_truncated(number);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(qnn_llama_seed_obj, llama_seed);

// sample(temperature, top_p) -> a token drawn; both times 65536. Uses up the logits.
static mp_obj_t llama_sample(mp_obj_t self_in, mp_obj_t temperature, mp_obj_t top_p) {
    llama_t *self = ready(self_in);
    mp_int_t t = mp_obj_get_int(temperature), p = mp_obj_get_int(top_p);
    if (t <= 0 || t >= 1 << 24 || p < 0 || p > 65536) {
        mp_raise_ValueError(MP_ERROR_TEXT("temperature or top_p out of range"));
    }
    return token_id(qnn_llama_sample(&self->m, (uint32_t)t, (uint32_t)p, &self->random));
}
MP_DEFINE_CONST_FUN_OBJ_3(qnn_llama_sample_obj, llama_sample);

// logits(out) -> (m, e): copies them to an array('i'); a logit is m * 2^e times that
static mp_obj_t llama_logits(mp_obj_t self_in, mp_obj_t out) {
    const qnn_llama_t *m = &ready(self_in)->m;
    mp_buffer_info_t info;
    mp_get_buffer_raise(out, &info, MP_BUFFER_WRITE);
    if (info.typecode != 'i' || info.len < m->vocab * sizeof(int32_t)) {
        mp_raise_ValueError(MP_ERROR_TEXT("not array('i') of all logits"));
    }
    memcpy(info.buf, m->logits, m->vocab * sizeof(int32_t));
    mp_obj_t items[2] = { MP_OBJ_NEW_SMALL_INT(m->scale.m), MP_OBJ_NEW_SMALL_INT(m->scale.e) };
    return mp_obj_new_tuple(2, items);
}
MP_DEFINE_CONST_FUN_OBJ_2(qnn_llama_logits_obj, llama_logits);

#if !MICROPY_ENABLE_DYNRUNTIME

static const mp_rom_map_elem_t llama_locals_table[] = {
    { MP_ROM_QSTR(MP_QSTR_info), MP_ROM_PTR(&qnn_llama_info_obj) },
    { MP_ROM_QSTR(MP_QSTR_pos), MP_ROM_PTR(&qnn_llama_pos_obj) },
    { MP_ROM_QSTR(MP_QSTR_rewind), MP_ROM_PTR(&qnn_llama_rewind_obj) },
    { MP_ROM_QSTR(MP_QSTR_feed), MP_ROM_PTR(&qnn_llama_feed_obj) },
    { MP_ROM_QSTR(MP_QSTR_step), MP_ROM_PTR(&qnn_llama_step_obj) },
    { MP_ROM_QSTR(MP_QSTR_best), MP_ROM_PTR(&qnn_llama_best_obj) },
    { MP_ROM_QSTR(MP_QSTR_seed), MP_ROM_PTR(&qnn_llama_seed_obj) },
    { MP_ROM_QSTR(MP_QSTR_sample), MP_ROM_PTR(&qnn_llama_sample_obj) },
    { MP_ROM_QSTR(MP_QSTR_logits), MP_ROM_PTR(&qnn_llama_logits_obj) },
};
static MP_DEFINE_CONST_DICT(llama_locals, llama_locals_table);

MP_DEFINE_CONST_OBJ_TYPE(
    qnn_llama_type, MP_QSTR_Llama, MP_TYPE_FLAG_NONE,
    make_new, qnn_llama_make_new, locals_dict, &llama_locals);

#endif

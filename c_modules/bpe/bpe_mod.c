// The module _bpe, as part of a firmware or as a native module (natmod/). mcp_gw/infer/bpe_twin.py has
// the same functions in Python.
//
//     open(buffer) -> vocabulary             ValueError(what, offset) if the file is bad
//     info(v) -> (size, style, flags, bos, eos, longest, longest special, bytes of the file)
//     count(v, text, how) -> int             how: 1 special tokens, 2 more text comes, 4 it begins here
//     encode(v, text, how) -> array          of 'H' if all numbers fit, else 'I'
//     part(v, text, how) -> (array, bytes of text used, how & 4 for the next part)
//     token(v, id) -> bytes or None
//     special(v, id) -> bool

#if MICROPY_ENABLE_DYNRUNTIME
#include "py/dynruntime.h"
#else
#include "py/runtime.h"
#endif
#include "py/objarray.h"

#include "bpe_core.h"

typedef struct {
    mp_obj_base_t base;
    mp_obj_t buffer; // keeps the file where it is
    bpe_vocab_t vocab;
    uint32_t *work;
    uint32_t work_size;
} vocabulary_t;

#if MICROPY_ENABLE_DYNRUNTIME

mp_obj_full_type_t vocabulary_type; // mpy_ld wants what is not constant to be global

static const mp_obj_type_t *array_type(void) {
    mp_obj_t module = mp_import_name(MP_QSTR_array, mp_const_none, MP_OBJ_NEW_SMALL_INT(0));
    return MP_OBJ_TO_PTR(mp_load_attr(module, MP_QSTR_array));
}

// What compilers make of structures.
void *memcpy(void *to, const void *from, size_t size) {
    return mp_fun_table.memmove_(to, from, size);
}

void *memset(void *to, int value, size_t size) {
    return mp_fun_table.memset_(to, value, size);
}

#else

static MP_DEFINE_CONST_OBJ_TYPE(vocabulary_type, MP_QSTR_Vocabulary, MP_TYPE_FLAG_NONE);

static const mp_obj_type_t *array_type(void) {
    return &mp_type_array;
}

#endif

// open(buffer)
static mp_obj_t open_(mp_obj_t buffer) {
    mp_buffer_info_t info;
    mp_get_buffer_raise(buffer, &info, MP_BUFFER_READ);
    vocabulary_t *self = mp_obj_malloc(vocabulary_t, (const mp_obj_type_t *)&vocabulary_type);
    self->buffer = buffer;
    bpe_fault_t fault = { "", 0 };
    if (!bpe_open(&self->vocab, info.buf, info.len < UINT32_MAX ? info.len : UINT32_MAX, &fault)) {
        size_t size = 0;
        while (fault.what[size] != 0) {
            size++;
        }
        mp_obj_t args[2] = { mp_obj_new_str(fault.what, size), mp_obj_new_int_from_uint(fault.at) };
        nlr_raise(mp_call_function_n_kw(MP_OBJ_FROM_PTR(&mp_type_ValueError), 2, 0, args));
    }
    self->work_size = bpe_work_size(&self->vocab);
    self->work = m_new(uint32_t, self->work_size);
    return MP_OBJ_FROM_PTR(self);
}
static MP_DEFINE_CONST_FUN_OBJ_1(open_obj, open_);

static vocabulary_t *get_vocabulary(mp_obj_t self_in) {
    if (!mp_obj_is_obj(self_in) || mp_obj_get_type(self_in) != (const mp_obj_type_t *)&vocabulary_type) {
        mp_raise_TypeError(MP_ERROR_TEXT("not a vocabulary"));
    }
    vocabulary_t *self = MP_OBJ_TO_PTR(self_in);
    // A bytearray may have been moved by growing.
    mp_buffer_info_t info;
    mp_get_buffer_raise(self->buffer, &info, MP_BUFFER_READ);
    if (info.buf != self->vocab.file || info.len < self->vocab.size) {
        mp_raise_ValueError(MP_ERROR_TEXT("vocabulary has moved"));
    }
    return self;
}

// info(v)
static mp_obj_t info(mp_obj_t self_in) {
    const bpe_vocab_t *v = &get_vocabulary(self_in)->vocab;
    mp_obj_t items[] = {
        MP_OBJ_NEW_SMALL_INT(v->ids),
        MP_OBJ_NEW_SMALL_INT(v->style),
        MP_OBJ_NEW_SMALL_INT(v->flags),
        MP_OBJ_NEW_SMALL_INT(v->bos),
        MP_OBJ_NEW_SMALL_INT(v->eos),
        MP_OBJ_NEW_SMALL_INT(v->longest),
        MP_OBJ_NEW_SMALL_INT(v->longest_special),
        MP_OBJ_NEW_SMALL_INT(v->size),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
static MP_DEFINE_CONST_FUN_OBJ_1(info_obj, info);

static void begin(vocabulary_t *self, bpe_job_t *job, mp_obj_t text, mp_obj_t how) {
    mp_buffer_info_t info;
    mp_get_buffer_raise(text, &info, MP_BUFFER_READ);
    if (info.len > INT32_MAX) {
        mp_raise_ValueError(MP_ERROR_TEXT("text too long"));
    }
    *job = (bpe_job_t) {
        .text = info.buf,
        .size = (uint32_t)info.len,
        .how = (uint32_t)mp_obj_get_int(how),
        .wide = self->vocab.ids > 65536,
        .work = self->work,
        .work_size = self->work_size,
    };
}

// Run a job to its end, with as much memory as it takes. Returns the array of tokens, or MP_OBJ_NULL if
// they were only to be counted.
static mp_obj_t run(vocabulary_t *self, bpe_job_t *job, int keep) {
    size_t width = job->wide ? sizeof(uint32_t) : sizeof(uint16_t);
    bpe_job_t begun = *job;
    if (keep) {
        // English has about four bytes a token.
        begun.room = job->size / 4 + job->size / 8 + 8;
        begun.ids = m_new(byte, begun.room * width);
        *job = begun;
    }
    for (;;) {
        int status = bpe_encode(&self->vocab, job);
        if (status == BPE_OK) {
            break;
        }
        if (status == BPE_ROOM) {
            begun.room += begun.room / 2;
            begun.ids = m_renew(byte, job->ids, job->room * width, begun.room * width);
            job->room = begun.room;
            job->ids = begun.ids;
        } else if (status == BPE_WORK) {
            self->work = m_new(uint32_t, self->work_size * 2);
            self->work_size *= 2;
            begun.work = self->work;
            begun.work_size = self->work_size;
            *job = begun;
        } else {
            mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("vocabulary has changed"));
        }
    }
    if (!keep) {
        return MP_OBJ_NULL;
    }
    mp_obj_array_t *ids = m_new(mp_obj_array_t, 1);
    ids->base.type = array_type();
    ids->typecode = job->wide ? 'I' : 'H';
    ids->free = 0;
    ids->len = job->count;
    ids->items = m_renew(byte, job->ids, job->room * width, (job->count + (job->count == 0)) * width);
    return MP_OBJ_FROM_PTR(ids);
}

// count(v, text, how)
static mp_obj_t count(mp_obj_t self_in, mp_obj_t text, mp_obj_t how) {
    vocabulary_t *self = get_vocabulary(self_in);
    bpe_job_t job;
    begin(self, &job, text, how);
    run(self, &job, 0);
    return mp_obj_new_int_from_uint(job.count);
}
static MP_DEFINE_CONST_FUN_OBJ_3(count_obj, count);

// encode(v, text, how)
static mp_obj_t encode(mp_obj_t self_in, mp_obj_t text, mp_obj_t how) {
    vocabulary_t *self = get_vocabulary(self_in);
    bpe_job_t job;
    begin(self, &job, text, how);
    return run(self, &job, 1);
}
static MP_DEFINE_CONST_FUN_OBJ_3(encode_obj, encode);

// part(v, text, how)
static mp_obj_t part(mp_obj_t self_in, mp_obj_t text, mp_obj_t how) {
    vocabulary_t *self = get_vocabulary(self_in);
    bpe_job_t job;
    begin(self, &job, text, how);
    mp_obj_t items[3];
    items[0] = run(self, &job, 1);
    items[1] = mp_obj_new_int_from_uint(job.used);
    items[2] = MP_OBJ_NEW_SMALL_INT(job.fresh ? BPE_START : 0);
    return mp_obj_new_tuple(3, items);
}
static MP_DEFINE_CONST_FUN_OBJ_3(part_obj, part);

static uint32_t get_token(const bpe_vocab_t *v, mp_obj_t id_in) {
    mp_int_t id = mp_obj_get_int(id_in);
    return id < 0 || (mp_uint_t)id >= v->ids ? BPE_NONE : bpe_inner(v, (uint32_t)id);
}

// token(v, id)
static mp_obj_t token(mp_obj_t self_in, mp_obj_t id) {
    vocabulary_t *self = get_vocabulary(self_in);
    uint32_t found = get_token(&self->vocab, id);
    if (found == BPE_NONE) {
        return mp_const_none;
    }
    // No other text is being encoded now.
    byte *out = (byte *)self->work;
    return mp_obj_new_bytes(out, bpe_bytes(&self->vocab, found, out, self->work_size * sizeof(uint32_t)));
}
static MP_DEFINE_CONST_FUN_OBJ_2(token_obj, token);

// special(v, id)
static mp_obj_t special(mp_obj_t self_in, mp_obj_t id) {
    vocabulary_t *self = get_vocabulary(self_in);
    uint32_t found = get_token(&self->vocab, id);
    return mp_obj_new_bool(found != BPE_NONE && bpe_is_special(&self->vocab, found));
}
static MP_DEFINE_CONST_FUN_OBJ_2(special_obj, special);

#if MICROPY_ENABLE_DYNRUNTIME

mp_obj_t mpy_init(mp_obj_fun_bc_t *self, size_t n_args, size_t n_kw, mp_obj_t *args) {
    MP_DYNRUNTIME_INIT_ENTRY
    vocabulary_type.base.type = (void *)&mp_type_type;
    vocabulary_type.name = MP_QSTR_Vocabulary;
    mp_store_global(MP_QSTR_open, MP_OBJ_FROM_PTR(&open_obj));
    mp_store_global(MP_QSTR_info, MP_OBJ_FROM_PTR(&info_obj));
    mp_store_global(MP_QSTR_count, MP_OBJ_FROM_PTR(&count_obj));
    mp_store_global(MP_QSTR_encode, MP_OBJ_FROM_PTR(&encode_obj));
    mp_store_global(MP_QSTR_part, MP_OBJ_FROM_PTR(&part_obj));
    mp_store_global(MP_QSTR_token, MP_OBJ_FROM_PTR(&token_obj));
    mp_store_global(MP_QSTR_special, MP_OBJ_FROM_PTR(&special_obj));
    MP_DYNRUNTIME_INIT_EXIT
}

#else

static const mp_rom_map_elem_t bpe_globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__bpe) },
    { MP_ROM_QSTR(MP_QSTR_open), MP_ROM_PTR(&open_obj) },
    { MP_ROM_QSTR(MP_QSTR_info), MP_ROM_PTR(&info_obj) },
    { MP_ROM_QSTR(MP_QSTR_count), MP_ROM_PTR(&count_obj) },
    { MP_ROM_QSTR(MP_QSTR_encode), MP_ROM_PTR(&encode_obj) },
    { MP_ROM_QSTR(MP_QSTR_part), MP_ROM_PTR(&part_obj) },
    { MP_ROM_QSTR(MP_QSTR_token), MP_ROM_PTR(&token_obj) },
    { MP_ROM_QSTR(MP_QSTR_special), MP_ROM_PTR(&special_obj) },
};
static MP_DEFINE_CONST_DICT(bpe_globals, bpe_globals_table);

const mp_obj_module_t bpe_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&bpe_globals,
};

MP_REGISTER_MODULE(MP_QSTR__bpe, bpe_module);

#endif

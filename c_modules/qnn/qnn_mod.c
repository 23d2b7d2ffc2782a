// The module _qnn: check, info and the types of models.

#include "qnn_mod.h"

#include <string.h>

#include "qnn_classic_mod.h"
#include "qnn_llama.h"
#include "qnn_llama_mod.h"
#include "qnn_neighbours.h"
#include "qnn_trees.h"

NORETURN void qnn_raise(const qnn_error_t *error) {
    char text[80];
    size_t n = 0;
    for (const char *p = qnn_error_text(error->code); *p != 0 && n < 56; p++) {
        text[n++] = *p;
    }
    for (const char *p = " at offset "; *p != 0; p++) {
        text[n++] = *p;
    }
    char digits[10];
    unsigned count = 0;
    uint32_t at = error->at;
    do {
        digits[count++] = (char)('0' + at % 10);
        at /= 10;
    } while (at > 0);
    while (count > 0) {
        text[n++] = digits[--count];
    }
    nlr_raise(mp_obj_new_exception_arg1(&mp_type_ValueError, mp_obj_new_str(text, n)));
}

static void open_file(mp_obj_t buffer, qnn_file_t *file) {
    mp_buffer_info_t info;
    mp_get_buffer_raise(buffer, &info, MP_BUFFER_READ);
    qnn_error_t error;
    if (qnn_open(file, info.buf, info.len, &error) != QNN_OK) {
        qnn_raise(&error);
    }
}

// check(buf): ValueError("what is wrong at offset N") unless buf holds a model that can be run
static mp_obj_t qnn_mod_check(mp_obj_t buffer) {
    qnn_file_t file;
    qnn_error_t error = {QNN_OK, 0};
    open_file(buffer, &file);
    if (file.kind == QNN_KIND_GRAPH) {
        qnn_check(&file, &error);
    } else if (file.kind == QNN_KIND_TREES) {
        qnn_trees_t trees;
        qnn_trees_open(&trees, &file, &error);
    } else if (file.kind == QNN_KIND_NEIGHBOURS) {
        qnn_neighbours_t neighbours;
        qnn_neighbours_open(&neighbours, &file, &error);
    } else if (file.kind == QNN_KIND_LLAMA) {
        qnn_llama_t llama;
        qnn_llama_open(&llama, &file, &error);
    }
    if (error.code != QNN_OK) {
        qnn_raise(&error);
    }
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_1(qnn_check_obj, qnn_mod_check);

// info(buf) -> (kind, size, arena, MACs, offset of the metadata, its length)
static mp_obj_t qnn_mod_info(mp_obj_t buffer) {
    qnn_file_t file;
    open_file(buffer, &file);
    mp_obj_t items[6] = {
        MP_OBJ_NEW_SMALL_INT(file.kind),
        mp_obj_new_int_from_uint(file.size),
        mp_obj_new_int_from_uint(file.arena),
        mp_obj_new_int_from_uint(file.macs),
        mp_obj_new_int_from_uint(file.meta),
        mp_obj_new_int_from_uint(file.meta_len),
    };
    return mp_obj_new_tuple(6, items);
}
MP_DEFINE_CONST_FUN_OBJ_1(qnn_info_obj, qnn_mod_info);

#if !MICROPY_ENABLE_DYNRUNTIME

static const mp_rom_map_elem_t qnn_globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__qnn) },
    { MP_ROM_QSTR(MP_QSTR_check), MP_ROM_PTR(&qnn_check_obj) },
    { MP_ROM_QSTR(MP_QSTR_info), MP_ROM_PTR(&qnn_info_obj) },
    { MP_ROM_QSTR(MP_QSTR_Graph), MP_ROM_PTR(&qnn_graph_type) },
    { MP_ROM_QSTR(MP_QSTR_Trees), MP_ROM_PTR(&qnn_trees_type) },
    { MP_ROM_QSTR(MP_QSTR_Neighbours), MP_ROM_PTR(&qnn_neighbours_type) },
    { MP_ROM_QSTR(MP_QSTR_Llama), MP_ROM_PTR(&qnn_llama_type) },
    { MP_ROM_QSTR(MP_QSTR_llama_state), MP_ROM_PTR(&qnn_llama_state_obj) },
};
static MP_DEFINE_CONST_DICT(qnn_globals, qnn_globals_table);

const mp_obj_module_t qnn_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&qnn_globals,
};

MP_REGISTER_MODULE(MP_QSTR__qnn, qnn_module);

#endif

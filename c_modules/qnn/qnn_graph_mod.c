// Graph of the module _qnn: a model of kind 1 with the memory it runs in. Every argument is checked here; the
// core trusts its own.

#include "qnn_mod.h"

#if !MICROPY_ENABLE_DYNRUNTIME
#include "py/binary.h"
#endif
#include "py/objarray.h"

// MACs between two looks at Ctrl-C.
#define RUN_STEP (200000)

typedef struct {
    mp_obj_base_t base;
    // The garbage collector finds the two through these, not through the pointers of `run`.
    mp_obj_t buffer;
    mp_obj_t arena;
    uint32_t size;
    uint32_t arena_size;
    qnn_run_t run;
} graph_t;

// Address of the arena, or ValueError.
static void *arena_address(mp_obj_t arena, uint32_t size) {
    mp_buffer_info_t info;
    mp_get_buffer_raise(arena, &info, MP_BUFFER_RW);
    if (info.typecode != BYTEARRAY_TYPECODE && info.typecode != 'B' && info.typecode != 'b') {
        mp_raise_ValueError(MP_ERROR_TEXT("arena is not of bytes"));
    }
    if (info.len < size) {
        mp_raise_ValueError(MP_ERROR_TEXT("arena too small"));
    }
    if (((uintptr_t)info.buf & 7) != 0) {
        mp_raise_ValueError(MP_ERROR_TEXT("arena not aligned to 8"));
    }
    return info.buf;
}

// A bytearray moves when it grows; so the addresses are looked up again each time.
static graph_t *graph(mp_obj_t self_in) {
    graph_t *self = MP_OBJ_TO_PTR(self_in);
    mp_buffer_info_t info;
    mp_get_buffer_raise(self->buffer, &info, MP_BUFFER_READ);
    if (info.buf != self->run.file || info.len < self->size) {
        mp_raise_ValueError(MP_ERROR_TEXT("model has moved"));
    }
    self->run.arena = arena_address(self->arena, self->arena_size);
    return self;
}

// Graph(buf, arena): buf holds one file of kind 1 and stays as it is.
mp_obj_t qnn_graph_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    mp_arg_check_num(n_args, n_kw, 2, 2, false);
    mp_buffer_info_t info;
    mp_get_buffer_raise(args[0], &info, MP_BUFFER_READ);
    qnn_file_t file;
    qnn_error_t error;
    if (qnn_open(&file, info.buf, info.len, &error) != QNN_OK || qnn_check(&file, &error) != QNN_OK) {
        qnn_raise(&error);
    }
    void *arena = arena_address(args[1], file.arena);
    graph_t *self = mp_obj_malloc_helper(sizeof(graph_t), type);
    self->buffer = args[0];
    self->arena = args[1];
    self->size = file.size;
    self->arena_size = file.arena;
    qnn_init(&self->run, &file, arena);
    return MP_OBJ_FROM_PTR(self);
}

static void get_tensor(const graph_t *self, size_t n_args, const mp_obj_t *args, bool output, qnn_tensor_t *t) {
    mp_int_t i = n_args > 1 ? mp_obj_get_int(args[1]) : 0;
    if (i < 0 || i >= (output ? self->run.outputs : self->run.inputs)) {
        mp_raise_ValueError(MP_ERROR_TEXT("no such input or output"));
    }
    qnn_tensor(&self->run, output, (uint32_t)i, t);
}

static char typecode(const qnn_tensor_t *t) {
    return "bBhif"[t->type];
}

// counts() -> (inputs, outputs)
static mp_obj_t graph_counts(mp_obj_t self_in) {
    graph_t *self = MP_OBJ_TO_PTR(self_in);
    mp_obj_t items[2] = {MP_OBJ_NEW_SMALL_INT(self->run.inputs), MP_OBJ_NEW_SMALL_INT(self->run.outputs)};
    return mp_obj_new_tuple(2, items);
}
MP_DEFINE_CONST_FUN_OBJ_1(qnn_graph_counts_obj, graph_counts);

// shape(i=0, output=False) -> (typecode, scale, zero point, dims); scale 0.0: not quantised
static mp_obj_t graph_shape(size_t n_args, const mp_obj_t *args) {
    qnn_tensor_t t;
    get_tensor(graph(args[0]), n_args, args, n_args > 2 && mp_obj_is_true(args[2]), &t);
    mp_obj_t dims[QNN_MAX_RANK];
    for (unsigned i = 0; i < t.rank; i++) {
        dims[i] = mp_obj_new_int_from_uint(t.dims[i]);
    }
    char code = typecode(&t);
    union {
        uint32_t bits;
        float value;
    } scale = {t.scale};
    mp_obj_t items[4] = {
        mp_obj_new_str(&code, 1),
        mp_obj_new_float_from_f(scale.value),
        mp_obj_new_int(t.zero_point),
        mp_obj_new_tuple(t.rank, dims),
    };
    return mp_obj_new_tuple(4, items);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(qnn_graph_shape_obj, 1, 3, graph_shape);

// A memoryview of the tensor, which keeps the arena alive.
static mp_obj_t view(size_t n_args, const mp_obj_t *args, bool output) {
    graph_t *self = graph(args[0]);
    qnn_tensor_t t;
    get_tensor(self, n_args, args, output, &t);
    #if MICROPY_ENABLE_DYNRUNTIME
    mp_obj_t type = mp_load_global(MP_QSTR_memoryview);
    #else
    mp_obj_t type = MP_OBJ_FROM_PTR(&mp_type_memoryview);
    #endif
    mp_obj_t made = mp_call_function_n_kw(type, 1, 0, &self->arena);
    mp_obj_array_t *v = MP_OBJ_TO_PTR(made);
    size_t item = mp_binary_get_size('@', typecode(&t), NULL);
    // Offsets count in items; both the arena and the memory it may be a part of are aligned to 8.
    v->free = ((size_t)v->free + t.offset) / item;
    v->len = t.size / item;
    v->typecode = (byte)typecode(&t) | MP_OBJ_ARRAY_TYPECODE_FLAG_RW;
    return made;
}

// input(i=0), output(i=0) -> memoryview of the arena
static mp_obj_t graph_input(size_t n_args, const mp_obj_t *args) {
    return view(n_args, args, false);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(qnn_graph_input_obj, 1, 2, graph_input);

static mp_obj_t graph_output(size_t n_args, const mp_obj_t *args) {
    return view(n_args, args, true);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(qnn_graph_output_obj, 1, 2, graph_output);

// begin(): the inputs are there
static mp_obj_t graph_begin(mp_obj_t self_in) {
    qnn_begin(&graph(self_in)->run);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_1(qnn_graph_begin_obj, graph_begin);

// step(budget) -> whether more remains; about `budget` MACs are done
static mp_obj_t graph_step(mp_obj_t self_in, mp_obj_t budget_in) {
    mp_int_t budget = mp_obj_get_int(budget_in);
    if (budget < 0 || budget > 0x3fffffff) {
        mp_raise_ValueError(MP_ERROR_TEXT("budget"));
    }
    return mp_obj_new_bool(qnn_step(&graph(self_in)->run, (uint32_t)budget));
}
MP_DEFINE_CONST_FUN_OBJ_2(qnn_graph_step_obj, graph_step);

// run(): begin(), and every step
static mp_obj_t graph_run(mp_obj_t self_in) {
    qnn_begin(&graph(self_in)->run);
    while (qnn_step(&graph(self_in)->run, RUN_STEP)) {
        #if !MICROPY_ENABLE_DYNRUNTIME
        mp_handle_pending(true);
        #endif
    }
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_1(qnn_graph_run_obj, graph_run);

#if !MICROPY_ENABLE_DYNRUNTIME

static const mp_rom_map_elem_t graph_locals_table[] = {
    { MP_ROM_QSTR(MP_QSTR_counts), MP_ROM_PTR(&qnn_graph_counts_obj) },
    { MP_ROM_QSTR(MP_QSTR_shape), MP_ROM_PTR(&qnn_graph_shape_obj) },
    { MP_ROM_QSTR(MP_QSTR_input), MP_ROM_PTR(&qnn_graph_input_obj) },
    { MP_ROM_QSTR(MP_QSTR_output), MP_ROM_PTR(&qnn_graph_output_obj) },
    { MP_ROM_QSTR(MP_QSTR_begin), MP_ROM_PTR(&qnn_graph_begin_obj) },
    { MP_ROM_QSTR(MP_QSTR_step), MP_ROM_PTR(&qnn_graph_step_obj) },
    { MP_ROM_QSTR(MP_QSTR_run), MP_ROM_PTR(&qnn_graph_run_obj) },
};
static MP_DEFINE_CONST_DICT(graph_locals, graph_locals_table);

MP_DEFINE_CONST_OBJ_TYPE(
    qnn_graph_type,
    MP_QSTR_Graph,
    MP_TYPE_FLAG_NONE,
    make_new, qnn_graph_make_new,
    locals_dict, &graph_locals
    );

#endif

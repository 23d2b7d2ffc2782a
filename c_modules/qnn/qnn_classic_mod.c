// Trees and Neighbours of the module _qnn. Features come as array('f'), raw, or as array('h'), encoded as
// docs/model-trees.md says. Every argument is checked here; the cores trust their own.

#include "qnn_classic_mod.h"

#include <string.h>

#include "qnn_neighbours.h"
#include "qnn_trees.h"

// What both types begin with: the file's buffer, kept alive, and memory behind the object.
typedef struct {
    mp_obj_base_t base;
    mp_obj_t buffer;
    const uint8_t *file;
    size_t file_size;
    int32_t *scores;
    int16_t *query;
} model_t;

typedef struct {
    model_t model;
    qnn_trees_t trees;
    int32_t memory[];
} trees_obj_t;

typedef struct {
    model_t model;
    qnn_neighbours_t neighbours;
    qnn_search_t search;
    int32_t memory[];
} neighbours_obj_t;

static void open_file(mp_obj_t buffer, qnn_file_t *file, unsigned kind) {
    mp_buffer_info_t info;
    mp_get_buffer_raise(buffer, &info, MP_BUFFER_READ);
    qnn_error_t error;
    if (qnn_open(file, info.buf, info.len, &error) != QNN_OK) {
        qnn_raise(&error);
    }
    if (file->kind != kind) {
        error.code = QNN_E_KIND;
        error.at = 6;
        qnn_raise(&error);
    }
}

static void *new_model(const mp_obj_type_t *type, mp_obj_t buffer, const qnn_file_t *file, size_t size,
    size_t n_outputs, size_t n_features) {
    model_t *m = mp_obj_malloc_helper(size + n_outputs * sizeof(int32_t) + n_features * sizeof(int16_t), type);
    m->buffer = buffer;
    m->file = file->bytes;
    m->file_size = file->size;
    m->scores = (int32_t *)((byte *)m + size);
    m->query = (int16_t *)(m->scores + n_outputs);
    memset(m->scores, 0, n_outputs * sizeof(int32_t));
    memset(m->query, 0, n_features * sizeof(int16_t));
    return m;
}

// The object, to be run. A bytearray moves when it grows, and the model's pointers lead into it.
static void *model(mp_obj_t self_in) {
    model_t *m = MP_OBJ_TO_PTR(self_in);
    mp_buffer_info_t info;
    mp_get_buffer_raise(m->buffer, &info, MP_BUFFER_READ);
    if (info.buf != m->file || info.len < m->file_size) {
        mp_raise_ValueError(MP_ERROR_TEXT("model has moved"));
    }
    return m;
}

// The argument's features, encoded and clamped, in m->query.
static void take_features(model_t *m, const qnn_features_t *features, mp_obj_t x) {
    mp_buffer_info_t info;
    mp_get_buffer_raise(x, &info, MP_BUFFER_READ);
    size_t size = info.typecode == 'f' ? sizeof(uint32_t) : sizeof(int16_t);
    if ((info.typecode != 'f' && info.typecode != 'h') || info.len != features->count * size) {
        mp_raise_ValueError(MP_ERROR_TEXT("not array('f') or array('h') of all features"));
    }
    if (info.typecode == 'f') {
        qnn_features_encode(features, info.buf, m->query);
    } else {
        qnn_features_clamp(features, info.buf, m->query);
    }
}

static mp_obj_t copy_scores(const model_t *m, size_t n_outputs, mp_obj_t out) {
    mp_buffer_info_t info;
    mp_get_buffer_raise(out, &info, MP_BUFFER_WRITE);
    if (info.typecode != 'i' || info.len != n_outputs * sizeof(int32_t)) {
        mp_raise_ValueError(MP_ERROR_TEXT("not array('i') of all scores"));
    }
    memcpy(info.buf, m->scores, info.len);
    return mp_const_none;
}

static mp_obj_t sizes(size_t n_features, size_t n_outputs, bool is_class) {
    mp_obj_t items[3] = {
        MP_OBJ_NEW_SMALL_INT(n_features),
        MP_OBJ_NEW_SMALL_INT(n_outputs),
        mp_obj_new_bool(is_class),
    };
    return mp_obj_new_tuple(3, items);
}

static mp_obj_t answer(const model_t *m, bool is_class, unsigned class) {
    return is_class ? MP_OBJ_NEW_SMALL_INT(class) : mp_obj_new_int(m->scores[0]);
}

// ---- Trees

// Trees(buf): buf holds one file of kind 2 and stays as it is.
mp_obj_t qnn_trees_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    mp_arg_check_num(n_args, n_kw, 1, 1, false);
    qnn_file_t file;
    open_file(args[0], &file, QNN_KIND_TREES);
    qnn_trees_t trees;
    qnn_error_t error;
    if (qnn_trees_open(&trees, &file, &error) != QNN_OK) {
        qnn_raise(&error);
    }
    trees_obj_t *self = new_model(type, args[0], &file, sizeof(*self), trees.n_outputs, trees.features.count);
    self->trees = trees;
    return MP_OBJ_FROM_PTR(self);
}

// info() -> (features, scores, whether the answer is a class)
static mp_obj_t trees_info(mp_obj_t self_in) {
    trees_obj_t *self = MP_OBJ_TO_PTR(self_in);
    return sizes(self->trees.features.count, self->trees.n_outputs, self->trees.post != QNN_VALUES);
}
MP_DEFINE_CONST_FUN_OBJ_1(qnn_trees_info_obj, trees_info);

// predict(x) -> class, or the first score where the scores are the answer
static mp_obj_t trees_predict(mp_obj_t self_in, mp_obj_t x) {
    trees_obj_t *self = model(self_in);
    take_features(&self->model, &self->trees.features, x);
    qnn_trees_run(&self->trees, self->model.query, self->model.scores);
    return answer(&self->model, self->trees.post != QNN_VALUES, qnn_trees_class(&self->trees, self->model.scores));
}
MP_DEFINE_CONST_FUN_OBJ_2(qnn_trees_predict_obj, trees_predict);

// scores(out): those of the last predict()
static mp_obj_t trees_scores(mp_obj_t self_in, mp_obj_t out) {
    trees_obj_t *self = MP_OBJ_TO_PTR(self_in);
    return copy_scores(&self->model, self->trees.n_outputs, out);
}
MP_DEFINE_CONST_FUN_OBJ_2(qnn_trees_scores_obj, trees_scores);

// ---- Neighbours

// Neighbours(buf): buf holds one file of kind 3 and stays as it is.
mp_obj_t qnn_neighbours_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    mp_arg_check_num(n_args, n_kw, 1, 1, false);
    qnn_file_t file;
    open_file(args[0], &file, QNN_KIND_NEIGHBOURS);
    qnn_neighbours_t n;
    qnn_error_t error;
    if (qnn_neighbours_open(&n, &file, &error) != QNN_OK) {
        qnn_raise(&error);
    }
    neighbours_obj_t *self = new_model(type, args[0], &file, sizeof(*self), n.n_outputs, n.features.count);
    self->neighbours = n;
    // Nothing to step through before begin().
    qnn_neighbours_begin(&self->search);
    return MP_OBJ_FROM_PTR(self);
}

static mp_obj_t neighbours_info(mp_obj_t self_in) {
    neighbours_obj_t *self = MP_OBJ_TO_PTR(self_in);
    const qnn_neighbours_t *n = &self->neighbours;
    return sizes(n->features.count, n->n_outputs, n->classes != NULL);
}
MP_DEFINE_CONST_FUN_OBJ_1(qnn_neighbours_info_obj, neighbours_info);

// begin(x): start a search
static mp_obj_t neighbours_begin(mp_obj_t self_in, mp_obj_t x) {
    neighbours_obj_t *self = model(self_in);
    take_features(&self->model, &self->neighbours.features, x);
    for (unsigned i = 0; i < self->neighbours.features.count; i++) {
        if (self->model.query[i] == QNN_MISSING) {
            mp_raise_ValueError(MP_ERROR_TEXT("a feature is not a number"));
        }
    }
    qnn_neighbours_begin(&self->search);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(qnn_neighbours_begin_obj, neighbours_begin);

// step(budget) -> whether more remains: does about that many MACs, at least one vector
static mp_obj_t neighbours_step(mp_obj_t self_in, mp_obj_t budget) {
    neighbours_obj_t *self = model(self_in);
    const qnn_neighbours_t *n = &self->neighbours;
    mp_int_t vectors = mp_obj_get_int(budget) / n->features.count;
    if (qnn_neighbours_step(n, &self->search, self->model.query, vectors > 0 ? (uint32_t)vectors : 1)) {
        return mp_const_true;
    }
    qnn_neighbours_scores(n, &self->search, self->model.scores);
    return mp_const_false;
}
MP_DEFINE_CONST_FUN_OBJ_2(qnn_neighbours_step_obj, neighbours_step);

// predict([x]) -> class, or the first mean; without x of the search whose last step() said False
static mp_obj_t neighbours_predict(size_t n_args, const mp_obj_t *args) {
    neighbours_obj_t *self = model(args[0]);
    const qnn_neighbours_t *n = &self->neighbours;
    if (n_args > 1) {
        neighbours_begin(args[0], args[1]);
    }
    qnn_neighbours_step(n, &self->search, self->model.query, 0);
    qnn_neighbours_scores(n, &self->search, self->model.scores);
    return answer(&self->model, n->classes != NULL, qnn_neighbours_class(n, self->model.scores));
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(qnn_neighbours_predict_obj, 1, 2, neighbours_predict);

static mp_obj_t neighbours_scores(mp_obj_t self_in, mp_obj_t out) {
    neighbours_obj_t *self = MP_OBJ_TO_PTR(self_in);
    return copy_scores(&self->model, self->neighbours.n_outputs, out);
}
MP_DEFINE_CONST_FUN_OBJ_2(qnn_neighbours_scores_obj, neighbours_scores);

// distance() -> that of the nearest vector so far, in the features' scale, rounded down
static mp_obj_t neighbours_distance(mp_obj_t self_in) {
    neighbours_obj_t *self = MP_OBJ_TO_PTR(self_in);
    if (self->search.found == 0) {
        mp_raise_ValueError(MP_ERROR_TEXT("nothing was searched for"));
    }
    return mp_obj_new_int_from_uint(qnn_neighbours_distance(&self->search));
}
MP_DEFINE_CONST_FUN_OBJ_1(qnn_neighbours_distance_obj, neighbours_distance);

#if !MICROPY_ENABLE_DYNRUNTIME

static const mp_rom_map_elem_t trees_locals_table[] = {
    { MP_ROM_QSTR(MP_QSTR_info), MP_ROM_PTR(&qnn_trees_info_obj) },
    { MP_ROM_QSTR(MP_QSTR_predict), MP_ROM_PTR(&qnn_trees_predict_obj) },
    { MP_ROM_QSTR(MP_QSTR_scores), MP_ROM_PTR(&qnn_trees_scores_obj) },
};
static MP_DEFINE_CONST_DICT(trees_locals, trees_locals_table);

MP_DEFINE_CONST_OBJ_TYPE(
    qnn_trees_type, MP_QSTR_Trees, MP_TYPE_FLAG_NONE,
    make_new, qnn_trees_make_new, locals_dict, &trees_locals);

static const mp_rom_map_elem_t neighbours_locals_table[] = {
    { MP_ROM_QSTR(MP_QSTR_info), MP_ROM_PTR(&qnn_neighbours_info_obj) },
    { MP_ROM_QSTR(MP_QSTR_begin), MP_ROM_PTR(&qnn_neighbours_begin_obj) },
    { MP_ROM_QSTR(MP_QSTR_step), MP_ROM_PTR(&qnn_neighbours_step_obj) },
    { MP_ROM_QSTR(MP_QSTR_predict), MP_ROM_PTR(&qnn_neighbours_predict_obj) },
    { MP_ROM_QSTR(MP_QSTR_scores), MP_ROM_PTR(&qnn_neighbours_scores_obj) },
    { MP_ROM_QSTR(MP_QSTR_distance), MP_ROM_PTR(&qnn_neighbours_distance_obj) },
};
static MP_DEFINE_CONST_DICT(neighbours_locals, neighbours_locals_table);

MP_DEFINE_CONST_OBJ_TYPE(
    qnn_neighbours_type, MP_QSTR_Neighbours, MP_TYPE_FLAG_NONE,
    make_new, qnn_neighbours_make_new, locals_dict, &neighbours_locals);

#endif

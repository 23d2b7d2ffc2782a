// The types Trees and Neighbours, for the table of the module _qnn.

#ifndef QNN_CLASSIC_MOD_H
#define QNN_CLASSIC_MOD_H

#if MICROPY_ENABLE_DYNRUNTIME
#include "py/dynruntime.h"
#else
#include "py/runtime.h"
#endif

#include "qnn_core.h"

// ValueError with the error's text and place; the module's main file has it.
NORETURN void qnn_raise(const qnn_error_t *error);

// What the two types are made of; a native module fills its own types with it at run time.
mp_obj_t qnn_trees_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args);
mp_obj_t qnn_neighbours_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args);

extern const mp_obj_fun_builtin_fixed_t qnn_trees_info_obj, qnn_trees_predict_obj, qnn_trees_scores_obj;
extern const mp_obj_fun_builtin_fixed_t qnn_neighbours_info_obj, qnn_neighbours_begin_obj, qnn_neighbours_step_obj,
    qnn_neighbours_scores_obj, qnn_neighbours_distance_obj;
extern const mp_obj_fun_builtin_var_t qnn_neighbours_predict_obj;

#if !MICROPY_ENABLE_DYNRUNTIME
extern const mp_obj_type_t qnn_trees_type, qnn_neighbours_type;
#endif

#endif // QNN_CLASSIC_MOD_H

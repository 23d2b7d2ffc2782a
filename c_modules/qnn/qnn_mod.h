// What the files of the module _qnn share. Each type is described in its own file.

#ifndef QNN_MOD_H
#define QNN_MOD_H

#if MICROPY_ENABLE_DYNRUNTIME
#include "py/dynruntime.h"
#else
#include "py/runtime.h"
#endif

#include "qnn_core.h"

// ValueError("what is wrong at offset N").
NORETURN void qnn_raise(const qnn_error_t *error);

// The functions and Graph, for the table of the module; a native module fills its own type with these at run time.
mp_obj_t qnn_graph_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args);

extern const mp_obj_fun_builtin_fixed_t qnn_check_obj, qnn_info_obj;
extern const mp_obj_fun_builtin_fixed_t qnn_graph_counts_obj, qnn_graph_begin_obj, qnn_graph_step_obj,
    qnn_graph_run_obj;
extern const mp_obj_fun_builtin_var_t qnn_graph_shape_obj, qnn_graph_input_obj, qnn_graph_output_obj;

#if !MICROPY_ENABLE_DYNRUNTIME
extern const mp_obj_type_t qnn_graph_type;
#endif

#endif // QNN_MOD_H

// The type Llama, for the table of the module _qnn.

#ifndef QNN_LLAMA_MOD_H
#define QNN_LLAMA_MOD_H

#include "qnn_mod.h"

// A native module fills its own type with these at run time.
mp_obj_t qnn_llama_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args);

extern const mp_obj_fun_builtin_fixed_t qnn_llama_state_obj; // of the module
extern const mp_obj_fun_builtin_fixed_t qnn_llama_info_obj, qnn_llama_pos_obj, qnn_llama_rewind_obj,
    qnn_llama_step_obj, qnn_llama_best_obj, qnn_llama_seed_obj, qnn_llama_sample_obj, qnn_llama_logits_obj;
extern const mp_obj_fun_builtin_var_t qnn_llama_feed_obj;

#if !MICROPY_ENABLE_DYNRUNTIME
extern const mp_obj_type_t qnn_llama_type;
#endif

#endif // QNN_LLAMA_MOD_H

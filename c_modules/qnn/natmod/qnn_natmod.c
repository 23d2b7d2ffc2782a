// _qnn as a native .mpy file: its types and their tables are filled when it is imported.

#include "qnn_mod.h"

#include "qnn_classic_mod.h"
#include "qnn_llama_mod.h"

// What the compiler calls by itself; a native module is linked with no C library, but on RISC-V, where
// LINK_RUNTIME brings picolibc along.
#ifndef __riscv
#ifndef __linux__
void *memset(void *s, int c, size_t n) {
    return mp_fun_table.memset_(s, c, n);
}

void *memcpy(void *to, const void *from, size_t n) {
    return mp_fun_table.memmove_(to, from, n);
}
#endif

void *memmove(void *to, const void *from, size_t n) {
    return mp_fun_table.memmove_(to, from, n);
}
#endif

mp_map_elem_t graph_table[7], trees_table[3], neighbours_table[6], llama_table[9];
static MP_DEFINE_CONST_DICT(graph_dict, graph_table);
static MP_DEFINE_CONST_DICT(trees_dict, trees_table);
static MP_DEFINE_CONST_DICT(neighbours_dict, neighbours_table);
static MP_DEFINE_CONST_DICT(llama_dict, llama_table);
mp_obj_full_type_t graph_type, trees_type, neighbours_type, llama_type;

#define SET(table, i, name, object) \
    table[i] = (mp_map_elem_t) { MP_OBJ_NEW_QSTR(name), MP_OBJ_FROM_PTR(&object) }

static void set_type(mp_obj_full_type_t *type, qstr name, mp_make_new_fun_t make_new, const mp_obj_dict_t *dict) {
    type->base.type = (void *)&mp_type_type;
    type->name = (uint16_t)name;
    MP_OBJ_TYPE_SET_SLOT(type, make_new, (void *)make_new, 0);
    MP_OBJ_TYPE_SET_SLOT(type, locals_dict, (void *)dict, 1);
    mp_store_global(name, MP_OBJ_FROM_PTR(type));
}

static void set_tables(void) {
    SET(graph_table, 0, MP_QSTR_counts, qnn_graph_counts_obj);
    SET(graph_table, 1, MP_QSTR_shape, qnn_graph_shape_obj);
    SET(graph_table, 2, MP_QSTR_input, qnn_graph_input_obj);
    SET(graph_table, 3, MP_QSTR_output, qnn_graph_output_obj);
    SET(graph_table, 4, MP_QSTR_begin, qnn_graph_begin_obj);
    SET(graph_table, 5, MP_QSTR_step, qnn_graph_step_obj);
    SET(graph_table, 6, MP_QSTR_run, qnn_graph_run_obj);
    SET(trees_table, 0, MP_QSTR_info, qnn_trees_info_obj);
    SET(trees_table, 1, MP_QSTR_predict, qnn_trees_predict_obj);
    SET(trees_table, 2, MP_QSTR_scores, qnn_trees_scores_obj);
    SET(neighbours_table, 0, MP_QSTR_info, qnn_neighbours_info_obj);
    SET(neighbours_table, 1, MP_QSTR_begin, qnn_neighbours_begin_obj);
    SET(neighbours_table, 2, MP_QSTR_step, qnn_neighbours_step_obj);
    SET(neighbours_table, 3, MP_QSTR_predict, qnn_neighbours_predict_obj);
    SET(neighbours_table, 4, MP_QSTR_scores, qnn_neighbours_scores_obj);
    SET(neighbours_table, 5, MP_QSTR_distance, qnn_neighbours_distance_obj);
    SET(llama_table, 0, MP_QSTR_info, qnn_llama_info_obj);
    SET(llama_table, 1, MP_QSTR_pos, qnn_llama_pos_obj);
    SET(llama_table, 2, MP_QSTR_rewind, qnn_llama_rewind_obj);
    SET(llama_table, 3, MP_QSTR_feed, qnn_llama_feed_obj);
    SET(llama_table, 4, MP_QSTR_step, qnn_llama_step_obj);
    SET(llama_table, 5, MP_QSTR_best, qnn_llama_best_obj);
    SET(llama_table, 6, MP_QSTR_seed, qnn_llama_seed_obj);
    SET(llama_table, 7, MP_QSTR_sample, qnn_llama_sample_obj);
    SET(llama_table, 8, MP_QSTR_logits, qnn_llama_logits_obj);
}

mp_obj_t mpy_init(mp_obj_fun_bc_t *self, size_t n_args, size_t n_kw, mp_obj_t *args) {
    MP_DYNRUNTIME_INIT_ENTRY
    set_tables();
    set_type(&graph_type, MP_QSTR_Graph, qnn_graph_make_new, (const mp_obj_dict_t *)&graph_dict);
    set_type(&trees_type, MP_QSTR_Trees, qnn_trees_make_new, (const mp_obj_dict_t *)&trees_dict);
    set_type(&neighbours_type, MP_QSTR_Neighbours, qnn_neighbours_make_new, (const mp_obj_dict_t *)&neighbours_dict);
    set_type(&llama_type, MP_QSTR_Llama, qnn_llama_make_new, (const mp_obj_dict_t *)&llama_dict);
    mp_store_global(MP_QSTR_check, MP_OBJ_FROM_PTR(&qnn_check_obj));
    mp_store_global(MP_QSTR_info, MP_OBJ_FROM_PTR(&qnn_info_obj));
    mp_store_global(MP_QSTR_llama_state, MP_OBJ_FROM_PTR(&qnn_llama_state_obj));
    MP_DYNRUNTIME_INIT_EXIT
}

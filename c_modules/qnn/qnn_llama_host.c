// Transformers for hosts that call the core through ctypes and know no structures of C: not part of any
// firmware.

#include "qnn_llama.h"

size_t qnn_llama_host_size(void);
int qnn_llama_host_open(qnn_llama_t *m, const uint8_t *bytes, size_t size, uint32_t *at);
void qnn_llama_host_info(const qnn_llama_t *m, int32_t *info);
const int32_t *qnn_llama_host_logits(const qnn_llama_t *m);
void qnn_llama_host_rewind(qnn_llama_t *m, uint32_t pos);

size_t qnn_llama_host_size(void) {
    return sizeof(qnn_llama_t);
}

int qnn_llama_host_open(qnn_llama_t *m, const uint8_t *bytes, size_t size, uint32_t *at) {
    qnn_file_t file;
    qnn_error_t error;
    if (qnn_open(&file, bytes, size, &error) == QNN_OK) {
        qnn_llama_open(m, &file, &error);
    }
    *at = error.at;
    return error.code;
}

void qnn_llama_host_info(const qnn_llama_t *m, int32_t *info) {
    const uint32_t all[] = { m->vocab, m->positions, m->max_positions, m->bos, m->eos, m->pos, m->ready, m->scale.m,
        (uint32_t)m->scale.e };
    for (uint32_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        info[i] = (int32_t)all[i];
    }
}

const int32_t *qnn_llama_host_logits(const qnn_llama_t *m) {
    return m->logits;
}

void qnn_llama_host_rewind(qnn_llama_t *m, uint32_t pos) {
    m->pos = pos;
    m->ready = 0;
}

// Runs the int8 engine over files from stdin; built with AddressSanitizer and UBSan.
//
// record in:  uint32 size, budget, steps (host byte order), `size` bytes of file
// record out: int32 error code, uint32 offset of the error, uint32 checksum of the outputs
//
// File and arena are allocations of the exact size. A file that is accepted is run for at most that many
// steps of that many MACs.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qnn_core.h"
#include "records.h"

// More than this the harness does not lend.
#define ARENA_MAX (1u << 20)

static uint32_t run(const qnn_file_t *file, uint32_t budget, uint32_t steps) {
    uint8_t *arena = allocate(file->arena);
    for (uint32_t i = 0; i < file->arena; i++) {
        arena[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    qnn_run_t *state = allocate(sizeof(*state));
    memset(state, 0xa5, sizeof(*state));
    qnn_init(state, file, arena);
    qnn_begin(state);
    while (steps-- > 0 && qnn_step(state, budget)) {
    }
    uint32_t sum = 0;
    for (uint32_t i = 0; i < state->outputs; i++) {
        qnn_tensor_t t;
        qnn_tensor(state, 1, i, &t);
        for (uint32_t k = 0; k < t.size; k++) {
            sum = sum * 31 + arena[t.offset + k];
        }
    }
    for (uint32_t i = 0; i < state->inputs; i++) {
        qnn_tensor_t t;
        qnn_tensor(state, 0, i, &t);
        sum += t.size;
    }
    free(state);
    free(arena);
    return sum;
}

int main(void) {
    uint32_t head[3];
    while (read_all(head, sizeof(head), 1)) {
        uint8_t *bytes = allocate(head[0]);
        read_all(bytes, head[0], 0);
        qnn_file_t file;
        qnn_error_t error;
        memset(&file, 0x5a, sizeof(file));
        memset(&error, 0x5a, sizeof(error));
        uint32_t answer[3] = {0, 0, 0};
        if (qnn_open(&file, bytes, head[0], &error) == QNN_OK && qnn_check(&file, &error) == QNN_OK
            && file.arena <= ARENA_MAX) {
            answer[2] = run(&file, head[1], head[2]);
        }
        if (error.code != QNN_OK && (error.at > head[0] || qnn_error_text(error.code)[0] == 0)) {
            fprintf(stderr, "error %d at %u of %u\n", error.code, error.at, head[0]);
            return 3;
        }
        answer[0] = (uint32_t)error.code;
        answer[1] = error.at;
        fwrite(answer, sizeof(answer), 1, stdout);
        free(bytes);
    }
    return fflush(stdout) == 0 ? 0 : 2;
}

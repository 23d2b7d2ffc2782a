// Models in .mgm files, run in place: docs/model-format.md has the file byte by byte.
//
// No allocation, no recursion, no floating point; all memory is the caller's. A file is checked whole,
// once, before anything of it is used; what passed cannot make the engine read or write outside of file and
// arena, whatever its numbers are. The checksum is not looked at here.

#ifndef QNN_CORE_H
#define QNN_CORE_H

#include <stddef.h>
#include <stdint.h>

enum {
    QNN_OK = 0,
    QNN_E_MAGIC = 1, // not a model at all
    QNN_E_VERSION,
    QNN_E_KIND,
    QNN_E_SHORT, // the file ends before what the header says
    QNN_E_SECTION,
    QNN_E_RESERVED, // a field that must be 0
    QNN_E_ALIGN,    // the file is not aligned to 4 in memory
    QNN_E_BODY,     // counts do not fit into the body
    QNN_E_TENSOR,
    QNN_E_INDEX, // a tensor that is not there
    QNN_E_OPERATOR,
    QNN_E_LAYOUT,
    QNN_E_SHAPE, // tensors that do not fit together
    QNN_E_DATA,  // weights or tables outside of the data section
    QNN_E_SCALE, // a multiplier, shift, zero point or range out of bounds
    QNN_E_SCRATCH,
    QNN_E_ARENA, // memory outside of the arena
    QNN_E_VALUE, // another parameter out of bounds
    QNN_E_NODE,  // a feature, child or class that is not there
};

// Kinds of models.
enum {
    QNN_KIND_GRAPH = 1,
    QNN_KIND_TREES = 2,
    QNN_KIND_NEIGHBOURS = 3,
    QNN_KIND_LLAMA = 4,
};

// Types of tensors.
enum {
    QNN_INT8 = 0,
    QNN_UINT8 = 1,
    QNN_INT16 = 2,
    QNN_INT32 = 3,
    QNN_FLOAT32 = 4,
};

// The header, checked.
typedef struct {
    const uint8_t *bytes;
    uint32_t size; // of the model; the buffer may be longer
    uint16_t kind;
    uint32_t meta, meta_len;
    uint32_t body, body_len;
    uint32_t data, data_len;
    uint32_t arena;
    uint32_t macs;
} qnn_file_t;

// Code and offset in the file of what is wrong.
typedef struct {
    int code;
    uint32_t at;
} qnn_error_t;

// A clear text for a code above.
const char *qnn_error_text(int code);

// Checks the header of any kind and fills `file`. Returns error->code.
int qnn_open(qnn_file_t *file, const uint8_t *bytes, size_t size, qnn_error_t *error);

// Little-endian numbers of a file, at any address.
static inline uint32_t qnn_u16(const uint8_t *p) {
    return p[0] | (uint32_t)p[1] << 8;
}
static inline uint32_t qnn_u32(const uint8_t *p) {
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

// Whether [at, at + len) lies in the data section, `at` a multiple of `align`.
static inline int qnn_in_data(const qnn_file_t *file, uint32_t at, uint64_t len, uint32_t align) {
    return at % align == 0 && at >= file->data && len <= file->data_len
        && at - file->data <= file->data_len - len;
}

// ---- kind 1: graphs of int8 operators

#define QNN_MAX_RANK (6)

typedef struct {
    uint32_t offset; // in the arena
    uint32_t size;   // bytes
    uint8_t type;
    uint8_t rank;
    uint32_t scale; // bits of a float32; 0: not quantised
    int32_t zero_point;
    uint32_t dims[QNN_MAX_RANK];
} qnn_tensor_t;

// Checks a file of kind 1 that qnn_open() accepted. Work: proportional to tensors, operators and channels.
int qnn_check(const qnn_file_t *file, qnn_error_t *error);

// State of a run. Lives as long as the caller wants; file and arena must outlive it.
typedef struct {
    const uint8_t *file; // first byte
    uint8_t *arena;
    const uint8_t *tensors;
    const uint8_t *operators;
    const uint8_t *at; // operator being worked on
    uint32_t unit;     // of it: how far
    uint16_t inputs, outputs;
    uint16_t count; // of operators
    uint16_t left;  // of them, not yet done; 0 when there is nothing to do
} qnn_run_t;

// The file passed qnn_check(); arena is aligned to 8 and as long as file->arena says.
void qnn_init(qnn_run_t *run, const qnn_file_t *file, void *arena);

// Tensor of input or output i, i < run->inputs or run->outputs.
void qnn_tensor(const qnn_run_t *run, int output, uint32_t i, qnn_tensor_t *tensor);

// Starts a run over what lies in the inputs.
void qnn_begin(qnn_run_t *run);

// Does about `budget` MACs of work, at least one unit; 1 while more remains, 0 when the outputs are there.
// Inputs are used up: their memory may hold something else by then.
int qnn_step(qnn_run_t *run, uint32_t budget);

#endif // QNN_CORE_H

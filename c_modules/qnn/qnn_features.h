// Features of trees and neighbours: from float32 values to the int16 numbers a model compares.
//
// A value comes as the 32 bits of a float and is never used as one: what a soft float costs, and how it
// rounds, does not matter here. docs/model-trees.md specifies the record and the three encodings.

#ifndef QNN_FEATURES_H
#define QNN_FEATURES_H

#include <stdint.h>

#include "qnn_core.h"

// What a value that is not a number becomes. No encoding gives it to a number.
#define QNN_MISSING (-32768)

#define QNN_FEATURE_SIZE (24)

enum {
    QNN_RANKED = 0, // how many of the feature's keys are less than the value
    QNN_GRID = 1,   // ceil(value * 2^exponent) - offset
    QNN_LINEAR = 2, // value * multiplier * 2^exponent + offset, rounded
};

// As it lies in the file.
typedef struct {
    uint8_t encoding;
    int8_t exponent;
    uint16_t n_keys;
    uint32_t first_key;
    int32_t multiplier;
    int32_t offset;
    uint16_t fraction; // of the offset, in 1/65536
    uint16_t zero;
    int16_t low; // the result lies between these
    int16_t high;
} qnn_feature_t;

typedef struct {
    const qnn_feature_t *records;
    const int32_t *keys;
    uint32_t n_keys;
    uint16_t count;
} qnn_features_t;

// A table of `count` records of `size` bytes at `offset`, all of it in the data section and on a multiple of
// 4. Returns NULL, and notes the error, if it is not.
const void *qnn_table(const qnn_file_t *file, uint32_t offset, uint32_t count, uint32_t size, qnn_error_t *error);

// Note an error at a place in the file. Returns the code.
int qnn_fail(const qnn_file_t *file, const void *at, int code, qnn_error_t *error);

// Check the records and the order of the keys.
int qnn_features_check(const qnn_features_t *f, const qnn_file_t *file, qnn_error_t *error);

// The bits of `count` floats to numbers.
void qnn_features_encode(const qnn_features_t *f, const uint32_t *bits, int16_t *out);

// Put numbers that a caller encoded himself between their low and high; a missing one stays.
void qnn_features_clamp(const qnn_features_t *f, const int16_t *in, int16_t *out);

#endif // QNN_FEATURES_H

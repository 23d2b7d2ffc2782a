// The products of 64 bits of qnn_math.h, made of parts and by the compiler, are the same.

#include <stdio.h>
#include <stdlib.h>

#define QNN_MATH_PARTS (1)
#include "qnn_math.h"

static int32_t by_the_compiler(int32_t a, int32_t b) {
    if (a == INT32_MIN && b == INT32_MIN) {
        return INT32_MAX;
    }
    // As the reference has it: half away from zero, and then toward zero.
    int64_t ab = (int64_t)a * b;
    return (int32_t)((ab + (ab >= 0 ? 1 << 30 : 1 - (1 << 30))) / ((int64_t)1 << 31));
}

int main(int argc, char **argv) {
    static const int32_t edges[] = {
        0, 1, -1, 2, -2, 3, 127, -128, 255, 32767, 32768, -32768, -32769, 65535, 65536, -65536, 65537,
        1 << 30, -(1 << 30), (1 << 30) - 1, (1 << 30) + 1, INT32_MAX, INT32_MAX - 1, INT32_MIN, INT32_MIN + 1,
    };
    unsigned n = sizeof(edges) / sizeof(edges[0]), count = argc > 2 ? (unsigned)atoi(argv[2]) : 0;
    uint64_t state = argc > 1 ? (uint64_t)atoll(argv[1]) : 1;
    for (unsigned i = 0; i < n * n + count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        // Of every size.
        int32_t a = (int32_t)(state >> 32) >> (state & 31), b = (int32_t)(state >> 16) >> (state >> 5 & 31);
        if (i < n * n) {
            a = edges[i / n];
            b = edges[i % n];
        }
        if (qnn_high_mul(a, b) != by_the_compiler(a, b)) {
            printf("%d * %d: %d, not %d\n", (int)a, (int)b, (int)qnn_high_mul(a, b), (int)by_the_compiler(a, b));
            return 1;
        }
    }
    printf("%u products\n", n * n + count);
    return 0;
}

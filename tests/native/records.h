// What the harnesses that read records from stdin begin with.

#ifndef RECORDS_H
#define RECORDS_H

#include <stdio.h>
#include <stdlib.h>

// An allocation of the exact size, so that the sanitizer sees one byte too far.
static void *allocate(size_t size) {
    void *p = malloc(size);
    if (p == NULL && size > 0) {
        perror("malloc");
        exit(2);
    }
    return p;
}

// 1, or 0 at the end of the file; a record cut short ends the program.
static int read_all(void *to, size_t size, int may_end) {
    size_t n = fread(to, 1, size, stdin);
    if (n == 0 && size > 0 && may_end) {
        return 0;
    }
    if (n != size) {
        fprintf(stderr, "record cut short\n");
        exit(2);
    }
    return 1;
}

#endif

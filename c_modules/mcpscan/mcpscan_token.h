// Tokens of JSON: strings, numbers, literals and the space between them. Private to mcpscan_core.

#ifndef MCPSCAN_TOKEN_H
#define MCPSCAN_TOKEN_H

#include "mcpscan_core.h"

// Classes of bytes; those from 0x80 on are in none.
enum {
    MCPSCAN_IN_STRING = 1, // a byte of a string that needs no second look
    MCPSCAN_SPACE = 2,
    MCPSCAN_DIGIT = 4,
    MCPSCAN_HEX = 8,
    MCPSCAN_ENDS_VALUE = 16, // may follow a number or literal
};

extern const uint8_t mcpscan_class_of[256];

// Note an error that ends the scan, unless one of depth was noted before. Returns NULL.
const uint8_t *mcpscan_stop(mcpscan_t *s, int error, const uint8_t *at);

// The functions that read a token take the place of its first byte, which tells what it is, and
// return the place after its last one, or NULL after mcpscan_stop().

const uint8_t *mcpscan_read_string(mcpscan_t *s, const uint8_t *p);

// A number or a literal, or whatever else begins like neither string nor container.
const uint8_t *mcpscan_read_bare(mcpscan_t *s, const uint8_t *p);

static inline const uint8_t *mcpscan_skip_space(const mcpscan_t *s, const uint8_t *p) {
    while (p < s->end && (mcpscan_class_of[*p] & MCPSCAN_SPACE)) {
        p++;
    }
    return p;
}

#endif // MCPSCAN_TOKEN_H

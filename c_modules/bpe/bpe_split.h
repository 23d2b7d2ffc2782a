// Where a text is cut, without regular expressions. Private to bpe_core.

#ifndef BPE_SPLIT_H
#define BPE_SPLIT_H

#include <stdint.h>

#include "bpe_core.h"

// Classes of characters; see tools/unicode_classes.py.
enum {
    BPE_OTHER,
    BPE_SPACE,
    BPE_NUMBER,
    BPE_UPPER,
    BPE_LOWER,
    BPE_LETTER, // without case
    BPE_MARK,
    BPE_END, // of the text
    BPE_EVEN_UPPER = 8,
    BPE_ODD_UPPER = 9,
};

extern const uint16_t bpe_planes[18];
extern const uint16_t bpe_firsts[];
extern const uint8_t bpe_kinds[];

typedef struct {
    const uint8_t *text;
    uint32_t end;     // what follows is invalid, or another segment
    uint32_t more;    // whether the text goes on behind end
    uint32_t touched; // whether what comes behind end would matter
    uint32_t invalid; // whether end is where the first invalid byte lies
    uint8_t style;
    uint8_t digits;
    uint8_t trailing;
} bpe_split_t;

// The end of a word of ASCII letters, with or without a space before it, which is a piece in GPT-2's and
// cl100k's ways of cutting if more ASCII follows; else 0. What most pieces of a text in English are.
static inline uint32_t bpe_word(const uint8_t *text, uint32_t at, uint32_t end) {
    const uint8_t *p = text + at;
    const uint8_t *stop = text + end;
    uint32_t c = *p;
    if (c == ' ' && ++p != stop) {
        c = *p;
    }
    if ((c | 0x20) - 'a' >= 26) {
        return 0;
    }
    do {
        if (++p == stop) {
            return 0;
        }
        c = *p;
    } while ((c | 0x20) - 'a' < 26);
    return c < 0x80 ? (uint32_t)(p - text) : 0;
}

// The end of the piece that begins at `at`, which is before s->end.
uint32_t bpe_piece(bpe_split_t *s, uint32_t at);

#endif // BPE_SPLIT_H

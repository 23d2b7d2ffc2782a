#include "mcpscan_token.h"

#include <stddef.h>
#include <string.h>

#define P (MCPSCAN_IN_STRING)
#define D (MCPSCAN_IN_STRING | MCPSCAN_DIGIT | MCPSCAN_HEX)
#define H (MCPSCAN_IN_STRING | MCPSCAN_HEX)
#define E (MCPSCAN_IN_STRING | MCPSCAN_ENDS_VALUE)
#define W (MCPSCAN_SPACE | MCPSCAN_ENDS_VALUE)
#define B (MCPSCAN_IN_STRING | MCPSCAN_SPACE | MCPSCAN_ENDS_VALUE)

const uint8_t mcpscan_class_of[256] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, W, W, 0, 0, W, 0, 0, // 0x00
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // 0x10
    B, P, 0, P, P, P, P, P, P, P, P, P, E, P, P, P, // 0x20
    D, D, D, D, D, D, D, D, D, D, P, P, P, P, P, P, // 0x30
    P, H, H, H, H, H, H, P, P, P, P, P, P, P, P, P, // 0x40
    P, P, P, P, P, P, P, P, P, P, P, P, 0, E, P, P, // 0x50
    P, H, H, H, H, H, H, P, P, P, P, P, P, P, P, P, // 0x60
    P, P, P, P, P, P, P, P, P, P, P, P, P, E, P, P, // 0x70
};

const uint8_t *mcpscan_stop(mcpscan_t *s, int error, const uint8_t *at) {
    if (s->error != MCPSCAN_E_DEPTH) {
        s->error = error;
        s->error_at = at;
    }
    return NULL;
}

static int between(uint8_t c, uint8_t low, uint8_t high) {
    return c >= low && c <= high;
}

// Length of the UTF-8 sequence that begins with a byte of 0x80 or more (RFC 3629), 0 if ill-formed.
static unsigned utf8_length(const uint8_t *p, const uint8_t *end) {
    uint8_t lead = *p;
    unsigned len = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (!between(lead, 0xc2, 0xf4) || (size_t)(end - p) < len) {
        return 0;
    }
    // The second byte is where overlong forms, surrogates and values past U+10FFFF show.
    uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (!between(p[1], low, high)) {
        return 0;
    }
    for (unsigned i = 2; i < len; i++) {
        if (!between(p[i], 0x80, 0xbf)) {
            return 0;
        }
    }
    return len;
}

static const uint8_t *read_escape(mcpscan_t *s, const uint8_t *p) {
    s->escape_end = ++p;
    if (p < s->end && *p == 'u') {
        for (unsigned i = 0; i < 4; i++) {
            p++;
            if (p == s->end || !(mcpscan_class_of[*p] & MCPSCAN_HEX)) {
                return mcpscan_stop(s, MCPSCAN_E_SYNTAX, p);
            }
        }
        return p + 1;
    }
    // strchr would find the 0 at the end of its own argument.
    if (p == s->end || *p == 0 || strchr("\"\\/bfnrt", *p) == NULL) {
        return mcpscan_stop(s, MCPSCAN_E_SYNTAX, p);
    }
    return p + 1;
}

const uint8_t *mcpscan_read_string(mcpscan_t *s, const uint8_t *p) {
    const uint8_t *end = s->end;
    p++;
    while (p != NULL) {
        while (p < end && (mcpscan_class_of[*p] & MCPSCAN_IN_STRING)) {
            p++;
        }
        if (p == end) {
            return mcpscan_stop(s, MCPSCAN_E_SYNTAX, p);
        }
        if (*p == '"') {
            return p + 1;
        }
        if (*p == '\\') {
            p = read_escape(s, p);
        } else if (*p < 0x20) {
            return mcpscan_stop(s, MCPSCAN_E_SYNTAX, p);
        } else {
            unsigned len = utf8_length(p, end);
            if (len == 0) {
                return mcpscan_stop(s, MCPSCAN_E_UTF8, p);
            }
            p += len;
        }
    }
    return NULL;
}

static const uint8_t *read_digits(mcpscan_t *s, const uint8_t *p) {
    if (p == s->end || !(mcpscan_class_of[*p] & MCPSCAN_DIGIT)) {
        return mcpscan_stop(s, MCPSCAN_E_SYNTAX, p);
    }
    while (p < s->end && (mcpscan_class_of[*p] & MCPSCAN_DIGIT)) {
        p++;
    }
    return p;
}

static const uint8_t *read_number(mcpscan_t *s, const uint8_t *p) {
    if (*p == '-') {
        p++;
    }
    if (p < s->end && *p == '0') {
        p++;
    } else {
        p = read_digits(s, p);
    }
    if (p != NULL && p < s->end && *p == '.') {
        p = read_digits(s, p + 1);
    }
    if (p != NULL && p < s->end && (*p | 0x20) == 'e') {
        p++;
        if (p < s->end && (*p == '+' || *p == '-')) {
            p++;
        }
        p = read_digits(s, p);
    }
    return p;
}

static const uint8_t *read_literal(mcpscan_t *s, const uint8_t *p) {
    const char *word = *p == 't' ? "true" : *p == 'f' ? "false" : "null";
    for (; *word != 0; word++, p++) {
        if (p == s->end || *p != (uint8_t)*word) {
            return mcpscan_stop(s, MCPSCAN_E_SYNTAX, p);
        }
    }
    return p;
}

const uint8_t *mcpscan_read_bare(mcpscan_t *s, const uint8_t *p) {
    if (*p == '-' || (mcpscan_class_of[*p] & MCPSCAN_DIGIT)) {
        p = read_number(s, p);
    } else {
        p = read_literal(s, p);
    }
    if (p != NULL && s->depth > 0 && (p == s->end || !(mcpscan_class_of[*p] & MCPSCAN_ENDS_VALUE))) {
        return mcpscan_stop(s, MCPSCAN_E_SYNTAX, p);
    }
    return p;
}

#include "bpe_split.h"

BPE_FAST

#define S BPE_SPACE
#define N BPE_NUMBER
#define U BPE_UPPER
#define L BPE_LOWER

static const uint8_t ascii[128] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, S, S, S, S, S, 0, 0, // 0x00
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // 0x10
    S, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // 0x20
    N, N, N, N, N, N, N, N, N, N, 0, 0, 0, 0, 0, 0, // 0x30
    0, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U, // 0x40
    U, U, U, U, U, U, U, U, U, U, U, 0, 0, 0, 0, 0, // 0x50
    0, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, // 0x60
    L, L, L, L, L, L, L, L, L, L, L, 0, 0, 0, 0, 0, // 0x70
};

#undef S
#undef N
#undef U
#undef L

// Sets of classes.
#define BIT(kind) (1u << (kind))
#define LETTERS (BIT(BPE_UPPER) | BIT(BPE_LOWER) | BIT(BPE_LETTER))
#define NUMBERS BIT(BPE_NUMBER)
#define SPACES BIT(BPE_SPACE)
#define SIGNS (BIT(BPE_OTHER) | BIT(BPE_MARK)) // [^\s\p{L}\p{N}]
#define CASELESS (BIT(BPE_LETTER) | BIT(BPE_MARK))
#define HEAD (BIT(BPE_UPPER) | CASELESS) // [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
#define TAIL (BIT(BPE_LOWER) | CASELESS) // [\p{Ll}\p{Lm}\p{Lo}\p{M}]

int bpe_utf8(const uint8_t *p, const uint8_t *end, uint32_t *point) {
    uint32_t lead = *p;
    if (lead < 0x80) {
        *point = lead;
        return 1;
    }
    if (lead < 0xc2 || lead > 0xf4) {
        return 0;
    }
    int size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    uint32_t value = lead & (0x7fu >> size);
    // The second byte is where overlong forms, surrogates and values past U+10FFFF show.
    uint32_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint32_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    for (int i = 1; i < size; i++) {
        if (p + i == end) {
            return -1;
        }
        if (p[i] < low || p[i] > high) {
            return 0;
        }
        value = value << 6 | (p[i] & 0x3f);
        low = 0x80;
        high = 0xbf;
    }
    *point = value;
    return size;
}

static uint32_t kind_of(uint32_t point) {
    uint32_t low = bpe_planes[point >> 16], high = bpe_planes[(point >> 16) + 1];
    uint32_t wanted = point & 0xffff;
    while (high - low > 1) {
        uint32_t middle = (low + high) / 2;
        if (bpe_firsts[middle] <= wanted) {
            low = middle;
        } else {
            high = middle;
        }
    }
    uint32_t kind = bpe_kinds[low / 2] >> (low & 1) * 4 & 15;
    if (kind >= BPE_EVEN_UPPER) {
        return ((kind ^ point) & 1) == 0 ? BPE_UPPER : BPE_LOWER;
    }
    return kind;
}

// The class of the character at `at`; *next: the place after it.
static uint32_t look(bpe_split_t *s, uint32_t at, uint32_t *next) {
    BPE_STEP();
    *next = at;
    if (at == s->end) {
        s->touched |= s->more;
        return BPE_END;
    }
    uint32_t c = s->text[at];
    if (c < 0x80) {
        *next = at + 1;
        return ascii[c];
    }
    uint32_t point;
    int size = bpe_utf8(s->text + at, s->text + s->end, &point);
    if (size <= 0) {
        if (size < 0 && s->more) {
            s->touched = 1;
        } else {
            s->end = at;
            s->invalid = 1;
            s->more = 0;
        }
        return BPE_END;
    }
    *next = at + (uint32_t)size;
    return kind_of(point);
}

// The end of the run of characters of these classes.
static uint32_t run(bpe_split_t *s, uint32_t at, uint32_t set) {
    const uint8_t *text = s->text;
    for (;;) {
        while (at < s->end && text[at] < 0x80) {
            BPE_STEP();
            if (!(set >> ascii[text[at]] & 1)) {
                return at;
            }
            at++;
        }
        uint32_t next;
        uint32_t kind = look(s, at, &next);
        if (!(set >> kind & 1)) {
            return at;
        }
        at = next;
    }
}

// The byte at `at` in lower case, 0 at the end.
static uint32_t lower(bpe_split_t *s, uint32_t at) {
    if (at >= s->end) {
        s->touched |= s->more;
        return 0;
    }
    return s->text[at] | 0x20;
}

// The end of 's, 'd, 'm, 't, 'll, 've or 're, if one begins at `at`, else `at`.
static uint32_t contraction(bpe_split_t *s, uint32_t at, int any_case) {
    if (s->text[at] != '\'') {
        return at;
    }
    uint32_t size;
    uint32_t first = lower(s, at + 1);
    if (first == 's' || first == 'd' || first == 'm' || first == 't') {
        size = 2;
    } else if (first == 'l' || first == 'v' || first == 'r') {
        if (lower(s, at + 2) != (first == 'l' ? 'l' : 'e')) {
            return at;
        }
        size = 3;
    } else {
        uint32_t next;
        if (any_case && first == (0xc5 | 0x20) && look(s, at + 1, &next) == BPE_LOWER
            && s->text[at + 1] == 0xc5 && s->text[at + 2] == 0xbf) {
            return next; // U+017F, the long s
        }
        return at;
    }
    for (uint32_t i = 1; i < size && !any_case; i++) {
        if (!(s->text[at + i] & 0x20)) {
            return at;
        }
    }
    return at + size;
}

static uint32_t numbers(bpe_split_t *s, uint32_t at) {
    if (s->digits == 0) {
        return run(s, at, NUMBERS);
    }
    for (uint32_t i = 0; i < s->digits; i++) {
        uint32_t next;
        if (look(s, at, &next) != BPE_NUMBER) {
            break;
        }
        at = next;
    }
    return at;
}

// White space, of which the last character goes with what follows it.
static uint32_t spaces(bpe_split_t *s, uint32_t at, int lines) {
    uint32_t end = at, last = at, line = at;
    for (;;) {
        uint32_t next;
        if (look(s, end, &next) != BPE_SPACE) {
            break;
        }
        last = end;
        if (s->text[end] == '\n' || s->text[end] == '\r') {
            line = next;
        }
        end = next;
    }
    if (end == s->end && s->trailing) {
        return end;
    }
    if (lines && line > at) {
        return line;
    }
    return end == s->end || last == at ? end : last;
}

static uint32_t line_ends(bpe_split_t *s, uint32_t at, int slash) {
    for (;; at++) {
        BPE_STEP();
        if (at == s->end) {
            s->touched |= s->more;
            return at;
        }
        uint8_t c = s->text[at];
        if (c != '\n' && c != '\r' && !(slash && c == '/')) {
            return at;
        }
    }
}

// Whether an ASCII letter stands at `at`.
static int is_letter(const bpe_split_t *s, uint32_t at) {
    return at < s->end && s->text[at] < 0x80 && (LETTERS >> ascii[s->text[at]] & 1);
}

static uint32_t piece_gpt2(bpe_split_t *s, uint32_t at) {
    // Most often it is a word.
    uint32_t first = s->text[at] == ' ' ? at + 1 : at;
    if (is_letter(s, first)) {
        return run(s, first + 1, LETTERS);
    }
    uint32_t end = contraction(s, at, 0);
    if (end > at) {
        return end;
    }
    uint32_t next, after;
    uint32_t kind = look(s, at, &next);
    uint32_t from = at;
    if (s->text[at] == ' ') {
        kind = look(s, next, &after);
        if (kind == BPE_SPACE || kind == BPE_END) {
            return spaces(s, at, 0);
        }
        from = next;
    }
    if (kind == BPE_SPACE) {
        return spaces(s, at, 0);
    }
    if (kind == BPE_NUMBER) {
        return numbers(s, from);
    }
    return run(s, from, LETTERS >> kind & 1 ? LETTERS : SIGNS);
}

// What follows words in cl100k and o200k: numbers, signs, white space.
static uint32_t no_word(bpe_split_t *s, uint32_t at, uint32_t kind, uint32_t next, int slash) {
    uint32_t after;
    if (kind == BPE_NUMBER) {
        return numbers(s, at);
    }
    if (s->text[at] == ' ') {
        uint32_t second = look(s, next, &after);
        if (second < BPE_END && (SIGNS >> second & 1)) {
            return line_ends(s, run(s, next, SIGNS), slash);
        }
    }
    if (kind == BPE_SPACE) {
        return spaces(s, at, 1);
    }
    return line_ends(s, run(s, at, SIGNS), slash);
}

// Whether a character may stand before the letters of a word: [^\r\n\p{L}\p{N}]
static int before_word(const bpe_split_t *s, uint32_t at, uint32_t kind) {
    return s->text[at] != '\r' && s->text[at] != '\n' && !((LETTERS | NUMBERS) >> kind & 1);
}

static uint32_t piece_cl100k(bpe_split_t *s, uint32_t at) {
    uint32_t first = s->text[at] == ' ' ? at + 1 : at;
    if (is_letter(s, first)) {
        return run(s, first + 1, LETTERS);
    }
    uint32_t end = contraction(s, at, 1);
    if (end > at) {
        return end;
    }
    uint32_t next, after;
    uint32_t kind = look(s, at, &next);
    if (LETTERS >> kind & 1) {
        return run(s, next, LETTERS);
    }
    if (before_word(s, at, kind) && (LETTERS >> look(s, next, &after) & 1)) {
        return run(s, after, LETTERS);
    }
    return no_word(s, at, kind, next, 0);
}

// HEAD*TAIL+ from `at`: as much HEAD as leaves something for TAIL. *head: the end of HEAD* if that
// took all it can. Returns the end, or `at` if there is no such word.
static uint32_t word(bpe_split_t *s, uint32_t at, uint32_t *head) {
    uint32_t caseless = at;
    uint32_t end = at;
    uint32_t next;
    uint32_t kind;
    while (HEAD >> (kind = look(s, end, &next)) & 1) {
        end = next;
        if (CASELESS >> kind & 1) {
            caseless = end;
        }
    }
    *head = end;
    return kind == BPE_LOWER ? run(s, next, TAIL) : caseless;
}

static uint32_t piece_o200k(bpe_split_t *s, uint32_t at) {
    uint32_t next, head = at, head_after = at;
    uint32_t kind = look(s, at, &next);
    uint32_t end = at;
    int before = before_word(s, at, kind);
    if (before) {
        uint32_t found = word(s, next, &head_after);
        if (found > next) {
            end = found;
        }
    }
    if (end == at && ((HEAD | TAIL) >> kind & 1)) {
        end = word(s, at, &head);
    }
    if (end == at) {
        // Only capitals.
        end = before && head_after > next ? head_after : head > at ? head : at;
    }
    if (end == at) {
        return no_word(s, at, kind, next, 1);
    }
    if (end < s->end) {
        return contraction(s, end, 1);
    }
    s->touched |= s->more;
    return end;
}

static uint32_t piece_spaces(bpe_split_t *s, uint32_t at) {
    while (at < s->end && s->text[at] == ' ') {
        BPE_STEP();
        at++;
    }
    while (at < s->end && s->text[at] != ' ') {
        BPE_STEP();
        at++;
    }
    s->touched |= at == s->end && s->more;
    return at;
}

uint32_t bpe_piece(bpe_split_t *s, uint32_t at) {
    switch (s->style) {
        case BPE_SPACES:
            return piece_spaces(s, at);
        case BPE_GPT2:
            return piece_gpt2(s, at);
        case BPE_CL100K:
            return piece_cl100k(s, at);
        case BPE_O200K:
            return piece_o200k(s, at);
        default:
            s->touched |= s->more;
            return s->end;
    }
}

#include "mcpscan_core.h"

#include <stddef.h>
#include <string.h>

#include "mcpscan_token.h"

typedef struct {
    uint8_t level; // 1: message, 2: params, 3: params._meta
    uint8_t field;
    uint8_t len;
    const char *name;
} member_t;

#define MEMBER(level, field, name) { level, field, sizeof(name) - 1, name }

static const member_t members[] = {
    MEMBER(1, MCPSCAN_JSONRPC, "jsonrpc"),
    MEMBER(1, MCPSCAN_ID, "id"),
    MEMBER(1, MCPSCAN_METHOD, "method"),
    MEMBER(1, MCPSCAN_PARAMS, "params"),
    MEMBER(1, MCPSCAN_RESULT, "result"),
    MEMBER(1, MCPSCAN_ERROR, "error"),
    MEMBER(2, MCPSCAN_NAME, "name"),
    MEMBER(2, MCPSCAN_ARGUMENTS, "arguments"),
    MEMBER(2, MCPSCAN_META, "_meta"),
    MEMBER(3, MCPSCAN_TOKEN, "progressToken"),
    MEMBER(3, MCPSCAN_VERSION, "io.modelcontextprotocol/protocolVersion"),
    MEMBER(3, MCPSCAN_KEY, "mcp-gw/key"),
};

// Note an error that leaves the text worth reading on; the first one counts.
static void note(mcpscan_t *s, int error, const uint8_t *at) {
    if (s->error == 0) {
        s->error = error;
        s->error_at = at;
    }
}

// Skip a container nested too deeply. What is inside is not checked beyond its strings.
static const uint8_t *skip_deep(mcpscan_t *s, const uint8_t *p) {
    uint32_t open = 0;
    mcpscan_stop(s, MCPSCAN_E_DEPTH, p);
    while (p < s->end) {
        uint8_t c = *p;
        if (c == '"') {
            p = mcpscan_read_string(s, p);
            if (p == NULL) {
                return NULL;
            }
            continue;
        }
        p++;
        // Of all bytes only [ { and ] } become 0x7b and 0x7d here, that is [ and { differ in 0x20.
        if ((c | 0x20) == '{') {
            open++;
        } else if ((c | 0x20) == '}' && --open == 0) {
            return p;
        }
    }
    return NULL;
}

static int hex_value(uint8_t c) {
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

// Whether the string at p (already validated, without its quotes) decodes to name, which is ASCII
// and holds no character that has a one-letter escape other than the slash.
static int same_name(const uint8_t *p, const uint8_t *end, const char *name, unsigned len) {
    while (p < end && len > 0) {
        int c = *p++;
        if (c == '\\') {
            c = *p++;
            if (c == 'u') {
                c = 0;
                for (unsigned i = 0; i < 4; i++) {
                    c = c << 4 | hex_value(*p++);
                }
            } else if (c != '/') {
                return 0;
            }
        }
        if (c != *name++) {
            return 0;
        }
        len--;
    }
    return p == end && len == 0;
}

static void enter_member(mcpscan_t *s, const uint8_t *key, const uint8_t *key_end) {
    const uint8_t *p = key + 1;
    const uint8_t *end = key_end - 1;
    int escaped = s->escape_end > key;
    s->field[s->envelope] = -1;
    for (unsigned i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        const member_t *m = &members[i];
        if (m->level != s->envelope) {
            continue;
        }
        if (escaped ? same_name(p, end, m->name, m->len)
            : end - p == m->len && memcmp(p, m->name, m->len) == 0) {
            if (s->seen & (1u << m->field)) {
                note(s, MCPSCAN_E_DUPLICATE, key);
            } else {
                s->seen |= 1u << m->field;
                s->field[s->envelope] = (int8_t)m->field;
            }
            return;
        }
    }
}

// From the place where a member must begin to that of its value.
static const uint8_t *read_key(mcpscan_t *s, const uint8_t *p) {
    const uint8_t *key = p;
    if (p == s->end || *p != '"') {
        return mcpscan_stop(s, MCPSCAN_E_SYNTAX, p);
    }
    p = mcpscan_read_string(s, p);
    if (p == NULL) {
        return NULL;
    }
    if (s->envelope == s->depth) {
        enter_member(s, key, p);
    }
    p = mcpscan_skip_space(s, p);
    if (p == s->end || *p != ':') {
        return mcpscan_stop(s, MCPSCAN_E_SYNTAX, p);
    }
    return mcpscan_skip_space(s, p + 1);
}

static int in_object(const mcpscan_t *s) {
    unsigned i = s->depth - 1u;
    return s->is_object[i / 32] >> (i % 32) & 1;
}

static void push(mcpscan_t *s, int object) {
    unsigned i = s->depth++;
    uint32_t bit = (uint32_t)1 << (i % 32);
    s->is_object[i / 32] = object ? s->is_object[i / 32] | bit : s->is_object[i / 32] & ~bit;
    if (object && s->envelope == i && (i == 0 || (i == 1 && s->field[1] == MCPSCAN_PARAMS)
        || (i == 2 && s->field[2] == MCPSCAN_META))) {
        s->envelope++;
    }
}

static void pop(mcpscan_t *s) {
    if (s->envelope == s->depth) {
        s->envelope--;
    }
    s->depth--;
}

// A value that began at value_at of this depth ends before p.
static void end_value(mcpscan_t *s, const uint8_t *p) {
    if (s->envelope != s->depth || s->depth == 0) {
        return;
    }
    int field = s->field[s->depth];
    if (field >= 0) {
        const uint8_t *at = s->value_at[s->depth];
        s->spans[2 * field] = (int32_t)(at - s->text);
        s->spans[2 * field + 1] = (int32_t)(p - s->text);
        if (s->escape_end > at) {
            s->spans[MCPSCAN_ESCAPES] |= (int32_t)1 << field;
        }
    }
}

// The outermost value and everything in it.
static const uint8_t *read_text(mcpscan_t *s, const uint8_t *p) {
    for (;;) {
        if (p == s->end) {
            return mcpscan_stop(s, MCPSCAN_E_SYNTAX, p);
        }
        if (s->envelope == s->depth) {
            s->value_at[s->depth] = p;
        }
        if (*p == '"') {
            p = mcpscan_read_string(s, p);
        } else if ((*p | 0x20) != '{') {
            p = mcpscan_read_bare(s, p);
        } else if (s->depth == s->max_depth) {
            p = skip_deep(s, p);
        } else {
            push(s, *p == '{');
            // ] and } lie two above their partners.
            uint8_t close = (uint8_t)(*p + 2);
            p = mcpscan_skip_space(s, p + 1);
            if (p < s->end && *p == close) {
                pop(s);
                p++;
            } else {
                if (in_object(s)) {
                    p = read_key(s, p);
                    if (p == NULL) {
                        return NULL;
                    }
                }
                continue;
            }
        }
        // One value has ended; close every container that ends with it.
        for (;;) {
            if (p == NULL) {
                return NULL;
            }
            end_value(s, p);
            if (s->depth == 0) {
                return p;
            }
            p = mcpscan_skip_space(s, p);
            if (p < s->end && *p == ',') {
                break;
            }
            if (p == s->end || *p != (in_object(s) ? '}' : ']')) {
                return mcpscan_stop(s, MCPSCAN_E_SYNTAX, p);
            }
            pop(s);
            p++;
        }
        p = mcpscan_skip_space(s, p + 1);
        if (in_object(s)) {
            p = read_key(s, p);
            if (p == NULL) {
                return NULL;
            }
        }
    }
}

// What kind of message the spans make; E_ENVELOPE is noted where they make none.
static void judge(mcpscan_t *s, const uint8_t *object, int *kind) {
    const int32_t *spans = s->spans;
    const uint8_t *at[MCPSCAN_FIELDS];
    for (unsigned i = 0; i < MCPSCAN_FIELDS; i++) {
        at[i] = spans[2 * i] < 0 ? NULL : s->text + spans[2 * i];
    }
    const uint8_t *version = at[MCPSCAN_JSONRPC];
    if (version == NULL || spans[2 * MCPSCAN_JSONRPC + 1] - spans[2 * MCPSCAN_JSONRPC] != 5
        || memcmp(version, "\"2.0\"", 5) != 0) {
        note(s, MCPSCAN_E_ENVELOPE, version != NULL ? version : object);
        return;
    }
    const uint8_t *id = at[MCPSCAN_ID];
    int has_id = id != NULL && *id != 'n';
    if (has_id && *id != '"') {
        const uint8_t *end = s->text + spans[2 * MCPSCAN_ID + 1];
        for (const uint8_t *p = *id == '-' ? id + 1 : id; p < end; p++) {
            if (!(mcpscan_class_of[*p] & MCPSCAN_DIGIT)) {
                note(s, MCPSCAN_E_ENVELOPE, id);
                return;
            }
        }
    }
    const uint8_t *bad = NULL;
    if (at[MCPSCAN_METHOD] != NULL) {
        if (*at[MCPSCAN_METHOD] != '"') {
            bad = at[MCPSCAN_METHOD];
        } else if (at[MCPSCAN_RESULT] != NULL || at[MCPSCAN_ERROR] != NULL) {
            bad = object;
        } else if (at[MCPSCAN_PARAMS] != NULL && *at[MCPSCAN_PARAMS] != '{') {
            bad = at[MCPSCAN_PARAMS];
        } else if (id != NULL && !has_id) {
            bad = id;
        }
        *kind = id != NULL ? MCPSCAN_REQUEST : MCPSCAN_NOTIFICATION;
    } else if ((at[MCPSCAN_RESULT] != NULL) == (at[MCPSCAN_ERROR] != NULL)) {
        bad = object;
    } else if (at[MCPSCAN_ERROR] != NULL) {
        if (*at[MCPSCAN_ERROR] != '{') {
            bad = at[MCPSCAN_ERROR];
        }
        *kind = MCPSCAN_ERROR_RESPONSE;
    } else {
        if (!has_id) {
            bad = id != NULL ? id : object;
        }
        *kind = MCPSCAN_RESPONSE;
    }
    if (bad != NULL) {
        note(s, MCPSCAN_E_ENVELOPE, bad);
    }
}

int mcpscan_run(mcpscan_t *s, const uint8_t *text, uint32_t start, uint32_t end, int32_t *spans,
    unsigned max_depth) {
    memset(s, 0, sizeof(*s));
    s->text = text;
    s->end = text + end;
    s->escape_end = text + start;
    s->spans = spans;
    s->max_depth = (uint8_t)max_depth;
    for (unsigned i = 0; i < MCPSCAN_SPANS_LEN; i++) {
        spans[i] = -1;
    }
    spans[MCPSCAN_ESCAPES] = 0;

    const uint8_t *first = mcpscan_skip_space(s, text + start);
    const uint8_t *p = read_text(s, first);
    if (p != NULL) {
        p = mcpscan_skip_space(s, p);
        if (p != s->end) {
            mcpscan_stop(s, MCPSCAN_E_SYNTAX, p);
        }
    }
    int kind = 0;
    if (s->error == 0 && *first != '{') {
        note(s, *first == '[' ? MCPSCAN_E_BATCH : MCPSCAN_E_NOT_OBJECT, first);
    } else if (s->error == 0) {
        judge(s, first, &kind);
    }
    if (s->error != 0) {
        spans[MCPSCAN_ERROR_AT] = (int32_t)(s->error_at - text);
        return s->error;
    }
    return kind;
}

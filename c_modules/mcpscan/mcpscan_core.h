// One-pass JSON validator that notes where the parts of a JSON-RPC / MCP message lie.
//
// The text is read once, from left to right, and never copied: no recursion, no allocation, no
// floating point. All memory is the caller's. mcp_gw/protocol/scan.py is the same algorithm in
// Python and must give the same answer, error code, error offset and spans for every input.
//
// Rules that are not obvious:
// - E_SYNTAX and E_UTF8 end the scan. The offset is the first byte that no valid text can have there
//   (the end of the text if it stops too early); for E_UTF8 the first byte of the bad sequence.
// - E_DEPTH outranks every other error. The part that is nested too deeply is skipped by counting
//   brackets and the scan goes on, because many clients write the id last.
// - E_DUPLICATE, E_BATCH, E_NOT_OBJECT and E_ENVELOPE are reported only if the whole text is valid
//   JSON. The first found wins; of a duplicated member the first value is kept.
// - E_ENVELOPE: jsonrpc missing or not exactly "2.0"; id not a string or integer (null is allowed in
//   an error response); method not a string; params of a request not an object; error not an object;
//   neither or both of method and result/error. It points at the offending value, or at the outer
//   object when a member is missing or one too many.
// - A number or literal counts only with the byte after it, so that an id cut in two is not taken
//   for a whole one.

#ifndef MCPSCAN_CORE_H
#define MCPSCAN_CORE_H

#include <stdint.h>

// Largest max_depth; each level costs one bit of mcpscan_t.
#define MCPSCAN_DEPTH_LIMIT (128)

enum {
    MCPSCAN_JSONRPC,
    MCPSCAN_ID,
    MCPSCAN_METHOD,
    MCPSCAN_PARAMS,
    MCPSCAN_RESULT,
    MCPSCAN_ERROR,
    MCPSCAN_NAME,      // params.name
    MCPSCAN_ARGUMENTS, // params.arguments
    MCPSCAN_META,      // params._meta
    MCPSCAN_TOKEN,     // params._meta.progressToken
    MCPSCAN_VERSION,   // params._meta["io.modelcontextprotocol/protocolVersion"]
    MCPSCAN_KEY,       // params._meta["mcp-gw/key"]
    MCPSCAN_FIELDS,
    // Then two more numbers in the array of spans:
    MCPSCAN_ESCAPES = 2 * MCPSCAN_FIELDS, // bit f is set if the span of field f contains a backslash
    MCPSCAN_ERROR_AT,                     // offset of the error, -1 without one
    MCPSCAN_SPANS_LEN,
};

enum {
    MCPSCAN_REQUEST = 1,
    MCPSCAN_NOTIFICATION = 2,
    MCPSCAN_RESPONSE = 3,
    MCPSCAN_ERROR_RESPONSE = 4,
    MCPSCAN_E_SYNTAX = -1,
    MCPSCAN_E_UTF8 = -2,
    MCPSCAN_E_DEPTH = -3,
    MCPSCAN_E_DUPLICATE = -4,
    MCPSCAN_E_BATCH = -5,
    MCPSCAN_E_NOT_OBJECT = -6,
    MCPSCAN_E_ENVELOPE = -7,
};

// Working memory of one scan; nothing in it outlives the call.
typedef struct {
    const uint8_t *text;
    const uint8_t *end;
    int32_t *spans;
    const uint8_t *escape_end; // the place after the last backslash in a string, else the beginning
    const uint8_t *error_at;
    int error;
    uint32_t seen;     // bit f: a member for field f has begun
    uint8_t depth;     // containers open now
    uint8_t envelope;  // how many of the outermost open containers are message, params, _meta
    uint8_t max_depth;
    int8_t field[4];            // per envelope depth 1..3: field of the member being read, or -1
    const uint8_t *value_at[4]; // and where its value begins
    uint32_t is_object[MCPSCAN_DEPTH_LIMIT / 32];
} mcpscan_t;

// Scan text[start:end]. spans has MCPSCAN_SPANS_LEN elements and is written whole: field f lies at
// text[spans[2f]:spans[2f+1]], or -1, -1 if absent; strings include their quotes. end must not exceed
// INT32_MAX; max_depth is 1..MCPSCAN_DEPTH_LIMIT, the outer object being depth 1. Returns one of the
// codes above.
int mcpscan_run(mcpscan_t *s, const uint8_t *text, uint32_t start, uint32_t end, int32_t *spans,
    unsigned max_depth);

#endif // MCPSCAN_CORE_H

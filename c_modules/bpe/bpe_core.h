// Byte-pair encoding over a vocabulary that is read in place; its format is docs/tokenizer-format.md.
//
// No allocation, no recursion, no floating point; all memory is the caller's. Reads of the file are
// by bytes, so that it may lie at any address.
//
// The tokens of a piece of text are found without a queue of merges. A sequence of tokens is what
// merging gives if each pair of neighbours in it is what merging gives for the text of those two, and
// there is only one such sequence. Short pieces are covered with the longest tokens first, going back
// where two neighbours would not stay apart; each place is reached once. Longer ones are read from
// left to right, keeping the last token of each prefix, and what every way from here has in common is
// given out, so that the memory does not grow with the piece. Both take time in proportion to its
// length. mcp_gw/infer/bpe_twin.py does the same by merging, for every text.

#ifndef BPE_CORE_H
#define BPE_CORE_H

#include <stddef.h>
#include <stdint.h>

#define BPE_NONE UINT32_MAX

// Firmware is compiled for size; the files with the inner loops are not.
#if defined(__GNUC__) && !defined(__clang__)
#define BPE_FAST _Pragma("GCC optimize (\"O2\")")
#else
#define BPE_FAST
#endif
#define BPE_TOKEN_LENGTH (1023) // bytes at most

// How a text is cut into pieces that are encoded for themselves.
enum {
    BPE_WHOLE,   // not at all
    BPE_SPACES,  // before a space that follows something else
    BPE_GPT2,
    BPE_CL100K,
    BPE_O200K,
    BPE_STYLES,
};

enum {
    BPE_PREFIX = 1,        // a space is thought before a text
    BPE_PREFIX_UNLESS = 2, // but not if it begins with one
    BPE_PREFIX_EACH = 4,   // and before what follows a special token
    BPE_TRAILING = 8,      // white space at the end of a text is one piece (cl100k)
    BPE_LOWER_STEMS = 16,  // U+2581 stands for a space: whoever calls replaces it
    BPE_FLAGS = 31,
};

// Tokens whose public numbers are as far from ours.
typedef struct {
    uint32_t first;
    uint32_t size;
    uint32_t distance;
} bpe_run_t;

// A vocabulary; the pointers lead into its file.
typedef struct {
    const uint8_t *file;
    const uint8_t *runs;         // of equal distance between our and the public numbers of tokens
    const uint8_t *order;        // the same runs by public number
    const uint8_t *literals;     // where the bytes of tokens 256.. that are not merged begin in the pool
    const uint8_t *pool;
    const uint8_t *splits;       // of the merged tokens
    const uint8_t *displacement; // the pairs, by perfect hashing
    const uint8_t *slots;
    const uint8_t *trie;
    uint32_t size;
    uint32_t flags;
    uint32_t tokens; // ours: bytes 0..255, characters, .. atoms, whole pieces .. wholes, others .. merges
    uint32_t atoms;
    uint32_t wholes;
    uint32_t merges;
    uint32_t ids; // public numbers are below
    int32_t bos;  // public numbers, -1 if there is none
    int32_t eos;
    uint32_t run_count;
    bpe_run_t last_run;
    uint32_t pool_size;
    uint32_t slot_count;
    uint32_t trie_size;
    uint32_t special; // the place in the trie where special tokens begin, or BPE_NONE
    uint16_t longest; // bytes of the longest token that text is encoded to, and of the longest special one
    uint16_t longest_special;
    uint8_t style;
    uint8_t digits;    // at most so many in a piece; 0: any number
    uint8_t ref;       // bytes of a reference: 2 or 3
    uint8_t bits;      // of a token in a split: 12, 16 or 20
    uint8_t pair_bits; // there are 2 to this power displacements
} bpe_vocab_t;

enum {
    BPE_OK,
    BPE_ROOM,    // no room for more tokens: call again with more, or another place, as often as needed
    BPE_WORK,    // this text needs more working memory: begin again with twice as much
    BPE_STUCK,   // not for a vocabulary that bpe_open() accepted
};

// What is wrong with a file, and where.
typedef struct {
    const char *what;
    uint32_t at;
} bpe_fault_t;

// Check all of a file. Returns 1, or 0 after filling in fault.
int bpe_open(bpe_vocab_t *v, const uint8_t *file, size_t size, bpe_fault_t *fault);

enum {
    BPE_SPECIAL = 1, // special tokens are recognised
    BPE_MORE = 2,    // the text goes on: stop where what follows would matter
    BPE_START = 4,   // this is where it begins
};

// One text being encoded. The caller fills in what comes before `used`, and 0 after it.
typedef struct {
    const uint8_t *text;
    uint32_t size;
    uint32_t how;       // BPE_SPECIAL | BPE_MORE | BPE_START
    void *ids;          // uint16_t or uint32_t; NULL: only count
    uint32_t room;      // for so many
    uint32_t wide;      // whether they are uint32_t
    uint32_t *work;
    uint32_t work_size; // words, at least bpe_work_size()
    uint32_t used;      // so much of the text is encoded; with BPE_MORE less than all of it
    uint32_t count;     // into so many tokens
    uint32_t fresh;     // whether a space is thought before what comes next: BPE_START for the next part
    // The core's own, which begins as 0.
    uint32_t begun;
    uint32_t at;        // where the next piece begins
    uint32_t segment;   // where a special token, or what looks like the beginning of one, comes next
    uint32_t open;      // whether the text may go on there
    uint32_t special;   // the token that comes there, and its length
    uint32_t special_size;
    uint32_t piece;     // where the piece before `at` began; if there was one
    uint32_t piece_count;
    uint32_t piece_solid;
    uint32_t piece_solid_count;
    uint32_t inside;
    uint32_t blank;     // whether its first token is all blank
    uint32_t solid;     // the end of the last token that is not
    uint32_t solid_count;
    uint32_t hold;      // what lies before this is certain, whatever follows
    uint32_t hold_count;
    bpe_run_t run;      // that was looked for last
} bpe_job_t;

// Words of working memory that are enough for all but vocabularies made to need more.
uint32_t bpe_work_size(const bpe_vocab_t *v);

// Encode or count. Returns BPE_OK, BPE_ROOM, BPE_WORK or BPE_STUCK.
int bpe_encode(const bpe_vocab_t *v, bpe_job_t *job);

// Our number of a public one, or BPE_NONE; and back.
uint32_t bpe_inner(const bpe_vocab_t *v, uint32_t id);
uint32_t bpe_outer(const bpe_vocab_t *v, uint32_t token);

// The bytes of a token (our number) to out, at most room. Returns how many it has.
uint32_t bpe_bytes(const bpe_vocab_t *v, uint32_t token, uint8_t *out, uint32_t room);

// Whether a token (our number) is a special one.
int bpe_is_special(const bpe_vocab_t *v, uint32_t token);

// The length of the UTF-8 character at p, which lies before end; 0 if there is none, and -1 if one
// may have begun that goes on after end. *point: its code point.
int bpe_utf8(const uint8_t *p, const uint8_t *end, uint32_t *point);

#ifdef BPE_COUNT_STEPS
extern uint64_t bpe_steps;
#define BPE_STEP() (bpe_steps++)
#else
#define BPE_STEP() ((void)0)
#endif

#endif // BPE_CORE_H

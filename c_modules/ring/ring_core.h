// Goes through the sectors and records of the queue on flash. docs/queue-format.md has the bytes,
// mcp_gw/queue/ring_twin.py the same in Python.
//
// Nothing here trusts what is read: any flash content is safe.

#ifndef RING_CORE_H
#define RING_CORE_H

#include <stdbool.h>
#include <stdint.h>

// Bytes of a sector's header, of a record's header, and of what is loaded of a record.
#define RING_SECTOR_HEAD 32
#define RING_HEAD 20
#define RING_LOADED 56

// What is read: `map`, the region in memory, or if that is NULL the function `read`, which fills
// to[0..n) from the region's byte addr on, or returns false. `limit` is the region's size in bytes.
typedef struct {
    const uint8_t *map;
    bool (*read)(void *context, uint32_t addr, uint8_t *to, uint32_t n);
    void *context;
    uint32_t limit;
} ring_source_t;

// The numbers that a caller and these functions share.
enum {
    // Where to go on, and where the log ends.
    RING_ADDR,
    RING_END,
    // The sector: its start, the seed of its headers' CRCs, bytes of a slot.
    RING_BASE,
    RING_SEED,
    RING_SLOT_BYTES,
    // What ring_seek and ring_scan leave out.
    RING_AFTER,
    RING_LO,
    RING_HI,
    // The record found.
    RING_LENGTH,
    RING_SEQ,
    RING_CRC,
    RING_KIND,
    RING_FLAGS,
    RING_SIZE,
    // Where there were no more records, and what was there instead.
    RING_STOP,
    RING_WHY,
    // Counted: places passed over, headers put right.
    RING_DAMAGED,
    RING_REPAIRED,
    // Counted by ring_scan; see there.
    RING_LIVE_BYTES,
    RING_COUNT,
    RING_TOP,
    RING_LAST,
    RING_MOVED,
    RING_OPEN,
    RING_NEXT,
    RING_CHAIN,
    RING_FROM,
    RING_TO,
    // The device: bytes of a sector, a page, the region.
    RING_SECTOR,
    RING_PAGE,
    RING_LIMIT,
    // Found by ring_survey; RING_NEWEST_HEAD is a header's eight words.
    RING_NEXT_SEQ,
    RING_GENERATION,
    RING_NEWEST,
    RING_STAMP_AT,
    RING_WEAR_LOW,
    RING_WEAR_HIGH,
    RING_DONE,
    RING_NEWEST_HEAD,
    RING_NUMBERS = RING_NEWEST_HEAD + RING_SECTOR_HEAD / 4
};

// What a header can be: a slot's is one of the first four. Only ring_survey says RING_FOREIGN, of another
// format.
enum { RING_JUNK, RING_VALID, RING_BLANK, RING_ZERO, RING_AHEAD, RING_SUSPECT, RING_FOREIGN };

// What ring_judge says of a sector.
enum { RING_VOID, RING_KEPT, RING_RETIRED, RING_OUT };

// What ring_seek looks for.
enum { RING_RAW, RING_LIVE, RING_WHOLES };

// What ring_scan returns.
enum { RING_END_OF_SECTOR, RING_WEAK_ACK, RING_ORPHANS };

// Whether the numbers describe a sector inside the source; the other functions rely on it.
bool ring_checked(const ring_source_t *source, const uint32_t *f);

// Loads the sector header at addr into buf[0..RING_SECTOR_HEAD); what it is. One flipped bit is put right.
int ring_header(const ring_source_t *source, uint32_t addr, uint8_t *buf);

// The first look at sector number s: what its header is, in buf[0..RING_SECTOR_HEAD) and f.
int ring_survey(const ring_source_t *source, uint8_t *buf, uint32_t *f, uint32_t s);

// The second, when all were looked at: what to do with it. f[RING_AFTER] is its wear, f[RING_FROM] and
// f[RING_TO] its first sequence number and generation.
int ring_judge(const ring_source_t *source, uint8_t *buf, uint32_t *f, uint32_t s);

// Lets f be about sector s, all its records to be scanned; what its header is. f[RING_FROM]: its first
// sequence number.
int ring_enter(const ring_source_t *source, uint8_t *buf, uint32_t *f, uint32_t s);

// Finds the first record from f[RING_ADDR] on that is wanted, before f[RING_END]; loads it into
// head[0..RING_LOADED) and f. kinds: the n_kinds kinds that RING_WHOLES wants, NULL for any.
bool ring_seek(const ring_source_t *source, uint8_t *head, uint32_t *f, int mode, const uint8_t *kinds,
    uint32_t n_kinds);

// Counts a sector's records; see the twin.
int ring_scan(const ring_source_t *source, uint8_t *head, uint32_t *f);

// Whether all bits from addr to end are ones; read into buf[0..RING_LOADED) where need be.
bool ring_blank(const ring_source_t *source, uint8_t *buf, uint32_t addr, uint32_t end);

// CRC-32 as zlib's, of p[0..n), going on from `start`.
uint32_t ring_crc32(const uint8_t *p, uint32_t n, uint32_t start);

#endif

#include "ring_core.h"

#include <stddef.h>
#include <string.h>

#define RECORD_MAGIC 0xF9
#define RECORD_COVERED 14
#define SECTOR_COVERED 24
// CRC-32 of anything with its own CRC behind it.
#define RESIDUE 0x2144DF1Cu
#define MARK_ACK 19
#define CONTINUES 0x40
#define GOES_ON 0x80
#define KEY_MAX 32
#define SUSPECT_ONES 16
#define VERSION 2
#define COMPACTED 1
#define STAMP 2
#define DONE 28
#define GONE 29
#define KEPT 30
#define NO_SECTOR 0xffffffffu
#define WEAR_MOST 254
#define WEAR_OUT 255

// CRC-32 of the sixteen nibbles.
static const uint32_t crc_nibbles[16] = {
    0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
    0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
};

uint32_t ring_crc32(const uint8_t *p, uint32_t n, uint32_t start) {
    uint32_t crc = ~start;
    while (n-- > 0) {
        crc ^= *p++;
        crc = crc_nibbles[crc & 15] ^ (crc >> 4);
        crc = crc_nibbles[crc & 15] ^ (crc >> 4);
    }
    return ~crc;
}

static uint32_t get32(const uint8_t *p) {
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static bool all(const uint8_t *p, uint32_t n, uint8_t byte) {
    while (n-- > 0) {
        if (*p++ != byte) {
            return false;
        }
    }
    return true;
}

static uint32_t ones(const uint8_t *p, uint32_t n) {
    uint32_t count = 0;
    while (n-- > 0) {
        for (uint8_t byte = *p++; byte != 0; byte &= byte - 1) {
            count++;
        }
    }
    return count;
}

// A mark byte counts as programmed if two or more bits are zero: one may have flipped by itself.
static bool cleared(uint8_t byte) {
    uint8_t zeros = (uint8_t)~byte;
    return (zeros & (zeros - 1)) != 0;
}

static bool read_source(const ring_source_t *source, uint32_t addr, uint8_t *to, uint32_t n) {
    if (source->map != NULL) {
        memcpy(to, source->map + addr, n);
        return true;
    }
    return source->read(source->context, addr, to, n);
}

// Put right one flipped bit of a header whose CRC follows `covered` bytes. CRC-32 tells all single-bit
// errors of so short a text apart: trying each bit corrects them.
static bool repair(uint8_t *buf, uint32_t covered, uint32_t start) {
    for (uint32_t bit = 0; bit < 8 * (covered + 4); bit++) {
        buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (ring_crc32(buf, covered + 4, start) == RESIDUE) {
            return true;
        }
        buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    return false;
}

bool ring_checked(const ring_source_t *source, const uint32_t *f) {
    uint32_t size = f[RING_SECTOR];
    uint32_t slot = f[RING_SLOT_BYTES];
    return size >= 64 && size <= 65536 && f[RING_PAGE] >= 16 && f[RING_PAGE] <= 65536 && (slot == 4 || slot == 16) &&
           f[RING_LIMIT] <= source->limit && f[RING_LIMIT] >= RING_LOADED && f[RING_LIMIT] <= 0x7fffffff &&
           f[RING_BASE] <= f[RING_LIMIT] - size && size <= f[RING_LIMIT] && f[RING_ADDR] >= f[RING_BASE] &&
           f[RING_ADDR] <= f[RING_BASE] + size && f[RING_END] <= f[RING_BASE] + size && f[RING_SIZE] <= 65536;
}

int ring_header(const ring_source_t *source, uint32_t addr, uint8_t *buf) {
    if (!read_source(source, addr, buf, RING_SECTOR_HEAD)) {
        return RING_JUNK;
    }
    if (ring_crc32(buf, SECTOR_COVERED + 4, 0) != RESIDUE) {
        if (all(buf, 8, 0xff) && all(buf + 12, 16, 0xff)) {
            return all(buf + 8, 4, 0xff) ? RING_BLANK : RING_AHEAD;
        }
        // No erase count has so few ones, with its check.
        bool counted = ones(buf + 8, 4) > SUSPECT_ONES / 4;
        if (counted && all(buf, 8, 0) && all(buf + 12, 16, 0)) {
            return RING_ZERO;
        }
        if (!counted && ones(buf, RING_SECTOR_HEAD) <= SUSPECT_ONES) {
            return RING_SUSPECT;
        }
        if (!repair(buf, SECTOR_COVERED, 0)) {
            return RING_JUNK;
        }
    }
    bool gone = cleared(buf[GONE]) && !cleared(buf[KEPT]);
    return memcmp(buf, "MGQ", 3) == 0 && !gone ? RING_VALID : RING_JUNK;
}

// The erase count in a header, or -1.
static int32_t wear(int what, const uint8_t *buf) {
    if (what != RING_VALID && what != RING_ZERO && what != RING_AHEAD) {
        return -1;
    }
    uint8_t check = (uint8_t)~(buf[8] + buf[9] + buf[10]);
    return buf[11] == check ? (int32_t)(get32(buf + 8) & 0xffffff) : -1;
}

static uint32_t log2_of(uint32_t n) {
    uint32_t bits = 0;
    while (1u << bits < n) {
        bits++;
    }
    return bits;
}

int ring_survey(const ring_source_t *source, uint8_t *buf, uint32_t *f, uint32_t s) {
    int what = ring_header(source, s * f[RING_SECTOR], buf);
    int32_t count = wear(what, buf);
    if (count >= 0) {
        if ((uint32_t)count < f[RING_WEAR_LOW]) {
            f[RING_WEAR_LOW] = (uint32_t)count;
        }
        if ((uint32_t)count > f[RING_WEAR_HIGH]) {
            f[RING_WEAR_HIGH] = (uint32_t)count;
        }
    }
    if (what != RING_VALID) {
        return what;
    }
    if (buf[3] == 0 || buf[3] > VERSION || buf[4] != log2_of(f[RING_SECTOR])) {
        return RING_FOREIGN;
    }
    uint32_t generation = get32(buf + 12);
    uint32_t first = get32(buf + 16);
    uint32_t last = get32(buf + 20);
    if (f[RING_NEXT_SEQ] < first) {
        f[RING_NEXT_SEQ] = first;
    }
    if (f[RING_NEXT_SEQ] < last + 1) {
        f[RING_NEXT_SEQ] = last + 1;
    }
    if ((buf[6] & STAMP) != 0 && f[RING_STAMP_AT] < generation) {
        f[RING_STAMP_AT] = generation;
    }
    if (generation > f[RING_GENERATION]) {
        f[RING_GENERATION] = generation;
        f[RING_NEWEST] = s;
        f[RING_DONE] = (buf[6] & COMPACTED) != 0 && cleared(buf[DONE]);
        memcpy(f + RING_NEWEST_HEAD, buf, RING_SECTOR_HEAD);
    }
    return what;
}

// A header that may read otherwise each time: what matters of the newest is what was read first.
static int read_again(const ring_source_t *source, uint8_t *buf, const uint32_t *f, uint32_t s) {
    if (s == f[RING_NEWEST]) {
        memcpy(buf, f + RING_NEWEST_HEAD, RING_SECTOR_HEAD);
        return RING_VALID;
    }
    return ring_header(source, s * f[RING_SECTOR], buf);
}

int ring_judge(const ring_source_t *source, uint8_t *buf, uint32_t *f, uint32_t s) {
    int what = read_again(source, buf, f, s);
    int32_t count = wear(what, buf);
    uint32_t relative = 0;
    if (count >= 0) {
        relative = (uint32_t)count > f[RING_WEAR_LOW] ? (uint32_t)count - f[RING_WEAR_LOW] : 0;
    } else if (what != RING_BLANK && f[RING_WEAR_HIGH] > f[RING_WEAR_LOW]) {
        // A cut has left it without a count: it may be as worn as any.
        relative = f[RING_WEAR_HIGH] - f[RING_WEAR_LOW];
    }
    f[RING_AFTER] = relative < WEAR_MOST ? relative : WEAR_MOST;
    if (what == RING_SUSPECT) {
        f[RING_AFTER] = WEAR_OUT;
        return RING_OUT;
    }
    uint32_t generation = f[RING_TO] = get32(buf + 12);
    f[RING_FROM] = get32(buf + 16);
    if (what != RING_VALID || (generation >= f[RING_GENERATION] && s != f[RING_NEWEST])) {
        // A header torn at some time, whose weak bits may make it valid at another, when something else has
        // its generation; or as early as at the second look. And one that may only read as retired: once KEPT,
        // GONE does not make it void.
        bool leave = what == RING_BLANK || (what == RING_ZERO && !cleared(buf[KEPT]));
        return leave || f[RING_NEWEST] == NO_SECTOR ? RING_VOID : RING_RETIRED;
    }
    if ((buf[6] & STAMP) != 0) {
        return RING_VOID;
    }
    // Of a sector that is compacted but not done the victims are still whole: what it holds must never be
    // seen again.
    bool kept = generation >= f[RING_STAMP_AT] && ((buf[6] & COMPACTED) == 0 || cleared(buf[DONE]));
    return kept ? RING_KEPT : RING_RETIRED;
}

int ring_enter(const ring_source_t *source, uint8_t *buf, uint32_t *f, uint32_t s) {
    int what = read_again(source, buf, f, s);
    uint32_t base = f[RING_BASE] = s * f[RING_SECTOR];
    f[RING_SEED] = ring_crc32(buf + 12, 4, 0) & 0x3fffffff;
    f[RING_SLOT_BYTES] = buf[5] == 4 ? 16 : 4;
    f[RING_ADDR] = base + RING_SECTOR_HEAD;
    f[RING_END] = base + f[RING_SECTOR];
    f[RING_LO] = 1;
    f[RING_HI] = 0;
    if (f[RING_DONE] != 0 && s != f[RING_NEWEST]) {
        f[RING_LO] = get32((const uint8_t *)(f + RING_NEWEST_HEAD) + 16);
        f[RING_HI] = get32((const uint8_t *)(f + RING_NEWEST_HEAD) + 20);
    }
    f[RING_FROM] = get32(buf + 16);
    f[RING_SIZE] = f[RING_LIVE_BYTES] = f[RING_TOP] = f[RING_LAST] = f[RING_MOVED] = 0;
    return what;
}

// What the slot at addr is; fills head, and f if it is a record.
static int load(const ring_source_t *source, uint8_t *head, uint32_t *f, uint32_t addr, bool mend) {
    uint32_t n = f[RING_LIMIT] - addr;
    if (!read_source(source, addr, head, n < RING_LOADED ? n : RING_LOADED)) {
        // There may be a record at the next slot.
        head[f[RING_SLOT_BYTES]] = RECORD_MAGIC;
        return RING_JUNK;
    }
    uint32_t start = f[RING_SEED] ^ (addr - f[RING_BASE]);
    if (head[0] != RECORD_MAGIC || ring_crc32(head, RECORD_COVERED + 4, start) != RESIDUE) {
        if (all(head, 16, 0xff)) {
            return RING_BLANK;
        }
        if (ones(head, 16) <= 1) {
            return RING_ZERO;
        }
        if (!mend || !repair(head, RECORD_COVERED, start) || head[0] != RECORD_MAGIC) {
            return RING_JUNK;
        }
        f[RING_REPAIRED]++;
    }
    uint32_t length = head[2] | (uint32_t)head[3] << 8;
    if (addr + RING_HEAD + length > f[RING_BASE] + f[RING_SECTOR] || head[12] > length || head[12] > KEY_MAX) {
        return RING_JUNK;
    }
    f[RING_ADDR] = addr;
    f[RING_LENGTH] = length;
    f[RING_SEQ] = get32(head + 4);
    f[RING_CRC] = get32(head + 8);
    f[RING_KIND] = head[1];
    f[RING_FLAGS] = head[13];
    f[RING_SIZE] = (RING_HEAD + length + f[RING_SLOT_BYTES] - 1) & ~(f[RING_SLOT_BYTES] - 1);
    return RING_VALID;
}

// The first record from f[RING_ADDR] on.
static bool next(const ring_source_t *source, uint8_t *head, uint32_t *f) {
    uint32_t addr = f[RING_ADDR];
    uint32_t end = f[RING_END];
    while (addr + RING_HEAD <= end) {
        int what = load(source, head, f, addr, true);
        if (what == RING_VALID) {
            return true;
        }
        if (what == RING_ZERO) {
            // Behind the pages that an append may have touched before its header was complete.
            addr = ((addr + RING_HEAD - 1) / f[RING_PAGE] + 1) * f[RING_PAGE];
            continue;
        }
        f[RING_STOP] = addr;
        f[RING_WHY] = (uint32_t)what;
        if (what == RING_BLANK) {
            return false;
        }
        // Without its length the next record can only be looked for.
        for (;;) {
            uint32_t step = f[RING_SLOT_BYTES];
            while (step < RING_LOADED && head[step] != RECORD_MAGIC) {
                step += f[RING_SLOT_BYTES];
            }
            addr += step;
            if (addr + RING_HEAD > end) {
                return false;
            }
            if (load(source, head, f, addr, false) == RING_VALID) {
                f[RING_DAMAGED]++;
                return true;
            }
        }
    }
    f[RING_STOP] = end;
    f[RING_WHY] = RING_BLANK;
    return false;
}

bool ring_seek(const ring_source_t *source, uint8_t *head, uint32_t *f, int mode, const uint8_t *kinds,
    uint32_t n_kinds) {
    while (next(source, head, f)) {
        if (mode == RING_RAW) {
            return true;
        }
        if (!cleared(head[MARK_ACK]) && f[RING_SEQ] > f[RING_AFTER]) {
            if (mode == RING_LIVE) {
                return true;
            }
            if ((f[RING_FLAGS] & CONTINUES) == 0 &&
                (kinds == NULL || (n_kinds > 0 && memchr(kinds, (int)f[RING_KIND], n_kinds) != NULL))) {
                return true;
            }
        }
        f[RING_ADDR] += f[RING_SIZE];
    }
    return false;
}

static int orphans(uint32_t *f, uint32_t first, uint32_t last, uint32_t open) {
    f[RING_FROM] = first;
    f[RING_TO] = last;
    f[RING_OPEN] = open;
    f[RING_NEXT] = f[RING_SEQ] + 1;
    return RING_ORPHANS;
}

// A live record: what it does to the chain that is being read. RING_END_OF_SECTOR: it goes well with it.
static int link(uint32_t *f) {
    uint32_t seq = f[RING_SEQ];
    uint32_t first = f[RING_OPEN];
    bool goes_on = (f[RING_FLAGS] & GOES_ON) != 0;
    f[RING_CHAIN] = 0;
    if ((f[RING_FLAGS] & CONTINUES) != 0) {
        if (first == 0 || seq != f[RING_NEXT]) {
            return orphans(f, first != 0 ? first : seq, seq, 0);
        }
        f[RING_CHAIN] = first;
        f[RING_NEXT] = seq + 1;
        if (!goes_on) {
            f[RING_OPEN] = 0;
            f[RING_COUNT]++;
        }
        return RING_END_OF_SECTOR;
    }
    f[RING_OPEN] = f[RING_CHAIN] = goes_on ? seq : 0;
    f[RING_COUNT] += !goes_on;
    if (first != 0) {
        return orphans(f, first, f[RING_NEXT] - 1, f[RING_OPEN]);
    }
    f[RING_NEXT] = seq + 1;
    return RING_END_OF_SECTOR;
}

int ring_scan(const ring_source_t *source, uint8_t *head, uint32_t *f) {
    // Called again: the record at f[RING_ADDR] is done with.
    f[RING_ADDR] += f[RING_SIZE];
    f[RING_SIZE] = 0;
    while (next(source, head, f)) {
        uint32_t seq = f[RING_SEQ];
        uint8_t ack = head[MARK_ACK];
        f[RING_TOP] = seq;
        bool moved = f[RING_LO] <= seq && seq <= f[RING_HI];
        f[RING_MOVED] |= moved;
        if (cleared(ack)) {
            f[RING_LAST] = 0;
            if (ack != 0) {
                return RING_WEAK_ACK;
            }
        } else if (moved) {
            f[RING_LAST] = 0;
        } else {
            f[RING_LAST] = f[RING_ADDR];
            f[RING_LIVE_BYTES] += f[RING_SIZE];
            int what = link(f);
            if (what != RING_END_OF_SECTOR) {
                return what;
            }
        }
        f[RING_ADDR] += f[RING_SIZE];
    }
    f[RING_SIZE] = 0;
    return RING_END_OF_SECTOR;
}

bool ring_blank(const ring_source_t *source, uint8_t *buf, uint32_t addr, uint32_t end) {
    while (addr < end) {
        uint32_t n = end - addr < RING_LOADED ? end - addr : RING_LOADED;
        if (!read_source(source, addr, buf, n) || !all(buf, n, 0xff)) {
            return false;
        }
        addr += n;
    }
    return true;
}

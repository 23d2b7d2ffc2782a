// Runs ring_core over records from stdin; built with AddressSanitizer and UBSan.
//
// record in:  uint32 function (0 header, 1 seek, 2 scan, 3 survey, 4 judge, 5 enter), mode or sector, n_kinds, mapped, failing, size (host
//             byte order), the RING_NUMBERS numbers, n_kinds kinds, size bytes of the region
// record out: int32 result (-1 if the numbers are refused), the buffer, the numbers
//
// Every buffer is its own allocation of the exact size. `failing`: reads that touch this address fail, if
// the region is not mapped.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ring_core.h"
#include "records.h"

typedef struct {
    const uint8_t *region;
    uint32_t size;
    uint32_t failing;
} flash_t;

static bool read_flash(void *context, uint32_t addr, uint8_t *to, uint32_t n) {
    const flash_t *flash = context;
    if (addr > flash->size || n > flash->size - addr) {
        fprintf(stderr, "read outside the region: %u, %u bytes\n", (unsigned)addr, (unsigned)n);
        abort();
    }
    if (addr <= flash->failing && flash->failing - addr < n) {
        return false;
    }
    memcpy(to, flash->region + addr, n);
    return true;
}

static int32_t run(const uint32_t *in, const ring_source_t *source, uint8_t *buf, uint32_t *f, const uint8_t *kinds) {
    if (in[0] == 0) {
        return ring_header(source, f[RING_ADDR], buf);
    }
    if (in[0] >= 3) {
        return (in[0] == 3   ? ring_survey
                : in[0] == 4 ? ring_judge
                             : ring_enter)(source, buf, f, in[1]);
    }
    if (!ring_checked(source, f)) {
        return -1;
    }
    return in[0] == 1 ? ring_seek(source, buf, f, (int)in[1], kinds, in[2]) : ring_scan(source, buf, f);
}

int main(void) {
    uint32_t in[6];
    while (read_all(in, sizeof(in), 1)) {
        uint32_t *f = allocate(RING_NUMBERS * sizeof(uint32_t));
        read_all(f, RING_NUMBERS * sizeof(uint32_t), 0);
        uint8_t *kinds = allocate(in[2]);
        read_all(kinds, in[2], 0);
        uint8_t *region = allocate(in[5]);
        read_all(region, in[5], 0);
        uint32_t n = in[0] == 0 || in[0] >= 3 ? RING_SECTOR_HEAD : RING_LOADED;
        uint8_t *buf = allocate(n);
        memset(buf, 0, n);
        flash_t flash = {region, in[5], in[4]};
        ring_source_t source = {.map = in[3] ? region : NULL, .read = read_flash, .context = &flash, .limit = in[5]};
        int32_t result = run(in, &source, buf, f, in[2] > 0 ? kinds : NULL);
        fwrite(&result, sizeof(result), 1, stdout);
        fwrite(buf, 1, n, stdout);
        fwrite(f, sizeof(uint32_t), RING_NUMBERS, stdout);
        free(buf);
        free(region);
        free(kinds);
        free(f);
    }
    return fflush(stdout) == 0 ? 0 : 2;
}

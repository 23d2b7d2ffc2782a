// Runs mcpscan_core over records from stdin; built with AddressSanitizer and UBSan.
//
// record in:  uint32 start, uint32 end, uint32 max_depth (host byte order), end - start bytes of text
// record out: int32 result, then the MCPSCAN_SPANS_LEN spans
//
// Every buffer is its own allocation of the exact size, and what lies before `start` is poisoned (start
// is a multiple of 8 for that), so that one byte read or written outside is a report.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sanitizer/asan_interface.h>

#include "mcpscan_core.h"
#include "records.h"

static int run(const uint8_t *text, const uint32_t *head, int32_t *spans, int fill) {
    // Whatever lay in the memory the caller lends must not matter.
    mcpscan_t *state = allocate(sizeof(*state));
    memset(state, fill, sizeof(*state));
    memset(spans, fill, MCPSCAN_SPANS_LEN * sizeof(int32_t));
    int result = mcpscan_run(state, text, head[0], head[1], spans, head[2]);
    free(state);
    return result;
}

int main(void) {
    uint32_t head[3];
    while (read_all(head, sizeof(head), 1)) {
        uint8_t *text = allocate(head[1]);
        read_all(text + head[0], head[1] - head[0], 0);
        __asan_poison_memory_region(text, head[0]);
        int32_t *spans = allocate(MCPSCAN_SPANS_LEN * sizeof(int32_t));
        int32_t *again = allocate(MCPSCAN_SPANS_LEN * sizeof(int32_t));
        int32_t result = run(text, head, spans, 0xa5);
        if (run(text, head, again, 0x5a) != result
            || memcmp(spans, again, MCPSCAN_SPANS_LEN * sizeof(int32_t)) != 0) {
            fprintf(stderr, "two runs over the same text differ\n");
            return 3;
        }
        fwrite(&result, sizeof(result), 1, stdout);
        fwrite(spans, sizeof(int32_t), MCPSCAN_SPANS_LEN, stdout);
        __asan_unpoison_memory_region(text, head[0]);
        free(again);
        free(spans);
        free(text);
    }
    return fflush(stdout) == 0 ? 0 : 2;
}

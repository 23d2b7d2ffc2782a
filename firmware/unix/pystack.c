// The stack on which Python functions have their frames (MICROPY_ENABLE_PYSTACK).  The unix port
// makes one of 8 KB, which a deep recursion fills long before the C stack: a larger one takes its place.

#include <stddef.h>

#include "py/mpstate.h"
#include "py/pystack.h"

#define WORDS (16 * 1024)

// The linker makes calls of mp_pystack_init() calls of the wrapper (mpconfigvariant.mk).
void __real_mp_pystack_init(void *start, void *end);
void __wrap_mp_pystack_init(void *start, void *end);

void __wrap_mp_pystack_init(void *start, void *end) {
    static void *stack[WORDS];
    (void)start;
    (void)end;
    __real_mp_pystack_init(stack, stack + WORDS);
}

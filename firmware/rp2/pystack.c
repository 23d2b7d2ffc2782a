// The stack on which Python functions have their frames (MICROPY_ENABLE_PYSTACK): the rp2 port itself
// has none.  It holds as many frames as the C stack has room for.

#include "py/gc.h"
#include "py/mpstate.h"
#include "py/pystack.h"

#include "pico/platform.h"

#define WORDS (768)

void mcpgw_pystack_init(void);
void mcpgw_pystack_init(void) {
    static void *stack[WORDS];
    mp_pystack_init(stack, stack + WORDS);
}

// MicroPython traces the frames of the core that collects garbage.  A thread's are on its C stack,
// which the port traces as well; the frames of core 0 must not be forgotten when core 1 collects.
// The linker makes calls of gc_collect_start() calls of the wrapper (micropython.cmake).
void __real_gc_collect_start(void);
void __wrap_gc_collect_start(void);

void __wrap_gc_collect_start(void) {
    __real_gc_collect_start();
    if (get_core_num() == 1) {
        mp_state_thread_t *main = &mp_state_ctx.thread;
        gc_collect_root((void **)(void *)main->pystack_start,
            (size_t)(main->pystack_cur - main->pystack_start) / sizeof(void *));
    }
}

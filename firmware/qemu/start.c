// MicroPython's qemu port starts with a REPL.  This makes it start as boards do: _boot.py, boot.py,
// then main.py (each frozen or in the file system), and after them the REPL.  And it switches on the
// floating-point unit, which the port does not know.

#include <stdbool.h>
#include <stdint.h>

#include "shared/runtime/pyexec.h"

void __real_mp_semihosting_init(void);
void __wrap_mp_semihosting_init(void);
int __real_pyexec_friendly_repl(void);
int __real_pyexec_raw_repl(void);
int __wrap_pyexec_friendly_repl(void);
int __wrap_pyexec_raw_repl(void);

// The port enters one of its REPLs after every reset, and again when a host switches between them.
static int start_then(int (*repl)(void), bool with_main) {
    static bool started; // since the last reset
    int ret = 0;
    if (!started) {
        started = true;
        pyexec_frozen_module("_boot.py", false);
        ret = pyexec_file_if_exists("boot.py");
        // As on boards: a reset out of the raw REPL is a host's, which wants no app to run.
        if (with_main && ret != 0 && !(ret & PYEXEC_FORCED_EXIT)) {
            ret = pyexec_file_if_exists("main.py");
        }
    }
    if (!(ret & PYEXEC_FORCED_EXIT)) {
        ret = repl();
    }
    if (ret != 0) {
        started = false; // the port resets now
    }
    return ret;
}

int __wrap_pyexec_friendly_repl(void) {
    return start_then(__real_pyexec_friendly_repl, true);
}

int __wrap_pyexec_raw_repl(void) {
    return start_then(__real_pyexec_raw_repl, false);
}

// The first that the port calls after a reset: before it no float has been touched.
void __wrap_mp_semihosting_init(void) {
    #if defined(__ARM_FP)
    *(volatile uint32_t *)0xe000ed88 |= 0xfu << 20; // CPACR: full access to coprocessors 10 and 11
    __asm volatile ("dsb\n\tisb" ::: "memory");
    #endif
    __real_mp_semihosting_init();
}

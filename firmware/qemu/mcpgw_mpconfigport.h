// Used in place of the qemu port's own configuration (MP_CONFIGFILE): that one, with what a gateway
// needs of a board that the port leaves out.

#include "mpconfigport.h"

#undef MICROPY_PY_ASYNCIO
#define MICROPY_PY_ASYNCIO (1)
#undef MICROPY_PY_SELECT
#define MICROPY_PY_SELECT (1)
#undef MICROPY_PY_TIME
#define MICROPY_PY_TIME (1)
#undef MICROPY_PY_SYS_STDIO_BUFFER
#define MICROPY_PY_SYS_STDIO_BUFFER (1)
// Batches of queued calls are compressed.
#define MICROPY_PY_DEFLATE_COMPRESS (1)

// The machine has neither a clock that knows the date, nor a source of randomness, nor TLS to need it.
#define MICROPY_PY_TIME_GMTIME_LOCALTIME_MKTIME (0)
#define MICROPY_PY_TIME_TIME_TIME_NS (0)
#define MICROPY_PY_OS_URANDOM (0)
#define MICROPY_PY_CRYPTOLIB (0)
#define MICROPY_PY_MACHINE_TIMER (0)
// So that `random` differs from start to start all the same, seeded from the emulator's host.
#define MICROPY_PY_RANDOM_SEED_INIT_FUNC (mcpgw_qemu_seed())

// mps2.c takes interrupts, from the UART and from a timer.
#define MICROPY_BEGIN_ATOMIC_SECTION() mcpgw_qemu_irq_off()
#define MICROPY_END_ATOMIC_SECTION(state) mcpgw_qemu_irq_restore(state)
#define MICROPY_INTERNAL_WFE(timeout_ms) mcpgw_qemu_wait(timeout_ms)
#define mp_hal_delay_us_fast mp_hal_delay_us

#include <stdint.h>

uint32_t mcpgw_qemu_seed(void);
uint32_t mcpgw_qemu_irq_off(void);
void mcpgw_qemu_irq_restore(uint32_t state);
void mcpgw_qemu_wait(int32_t timeout_ms);

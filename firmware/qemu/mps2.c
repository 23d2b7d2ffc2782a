// An Arm MPS2 board with what MicroPython's qemu port leaves out: a clock, standard input that can be
// polled and interrupted with Ctrl-C, and a processor that sleeps while there is nothing to do.
//
// It joins the port by link-time wrapping (--wrap in firmware/qemu/port.mk), so the port's sources stay
// as they are.  Devices: CMSDK APB timers and UART, at the addresses and interrupts of the MPS2 boards.

#include <stdbool.h>
#include <string.h>

#include "py/mphal.h"
#include "py/ringbuf.h"
#include "py/runtime.h"
#include "py/stream.h"
#include "shared/runtime/interrupt_char.h"

#define TICKS_PER_US (25) // both timers run at 25 MHz

typedef struct {
    volatile uint32_t ctrl; // bit 0 enable, bit 3 interrupt
    volatile uint32_t value; // counts down
    volatile uint32_t reload;
    volatile uint32_t intstatus; // write 1 to clear
} timer_regs_t;

typedef struct {
    volatile uint32_t data;
    volatile uint32_t state; // bit 1: a byte was received
    volatile uint32_t ctrl; // bit 0 send, bit 1 receive, bit 3 receive interrupt
    volatile uint32_t intstatus; // write 1 to clear; bit 1 receive
    volatile uint32_t bauddiv;
} uart_regs_t;

#define CLOCK_TIMER ((timer_regs_t *)0x40000000) // free running
#define ALARM_TIMER ((timer_regs_t *)0x40001000) // ends a sleep
#define UART ((uart_regs_t *)0x40004000)

#define TIMER_ENABLE (1u << 0)
#define TIMER_IRQ (1u << 3)
#define UART_RX_FULL (1u << 1)
#define UART_RX_IRQ (1u << 3)
#define UART_RX_IRQ_STATUS (1u << 1)

#define IRQ_UART_RX (0)
#define IRQ_CLOCK (8)
#define IRQ_ALARM (9)
#define SYSTEM_VECTORS (16)

#define NVIC_ENABLE (*(volatile uint32_t *)0xe000e100)
#define VECTOR_TABLE (*(volatile uint32_t *)0xe000ed08)

// --- interrupts -------------------------------------------------------------------------------

static volatile uint32_t clock_high; // how often the clock timer has wrapped
static volatile bool event; // something was received, or the alarm rang, since the last wait

// 4 KB: a whole message may arrive while Python is busy.  Bytes beyond that wait at the sender.
static uint8_t rx_bytes[4096];
static ringbuf_t rx = { rx_bytes, sizeof(rx_bytes) };

uint32_t mcpgw_qemu_irq_off(void) {
    uint32_t state;
    __asm volatile ("mrs %0, primask\n\tcpsid i" : "=r" (state) :: "memory");
    return state;
}

void mcpgw_qemu_irq_restore(uint32_t state) {
    __asm volatile ("msr primask, %0" :: "r" (state) : "memory");
}

static void clock_irq(void) {
    CLOCK_TIMER->intstatus = 1;
    ++clock_high;
}

static void alarm_irq(void) {
    ALARM_TIMER->ctrl = 0;
    ALARM_TIMER->intstatus = 1;
    event = true;
}

// Take what the UART holds; the byte that finds no room stays there and holds the sender off.
static void uart_take(void) {
    while (UART->state & UART_RX_FULL) {
        if (ringbuf_free(&rx) == 0) {
            UART->ctrl &= ~UART_RX_IRQ;
            break;
        }
        int c = UART->data & 0xff;
        if (c == mp_interrupt_char) {
            rx.iget = rx.iput = 0; // what was typed ahead was for the program that now ends
            mp_sched_keyboard_interrupt();
        } else {
            ringbuf_put(&rx, c);
        }
    }
    event = true;
}

static void uart_irq(void) {
    UART->intstatus = UART_RX_IRQ_STATUS;
    uart_take();
}

// The port's own vector table ends after the system exceptions.
static uint32_t vectors[64] __attribute__((aligned(256)));

static void init(void) {
    static bool done;
    if (done) {
        return;
    }
    done = true;
    memcpy(vectors, (const void *)VECTOR_TABLE, SYSTEM_VECTORS * sizeof(vectors[0]));
    vectors[SYSTEM_VECTORS + IRQ_UART_RX] = (uint32_t)uart_irq;
    vectors[SYSTEM_VECTORS + IRQ_CLOCK] = (uint32_t)clock_irq;
    vectors[SYSTEM_VECTORS + IRQ_ALARM] = (uint32_t)alarm_irq;
    VECTOR_TABLE = (uint32_t)vectors;

    CLOCK_TIMER->reload = 0xffffffff;
    CLOCK_TIMER->value = 0xffffffff;
    CLOCK_TIMER->ctrl = TIMER_ENABLE | TIMER_IRQ;
    UART->ctrl |= UART_RX_IRQ;
    NVIC_ENABLE = 1u << IRQ_UART_RX | 1u << IRQ_CLOCK | 1u << IRQ_ALARM;
    // A byte that came before this raised no interrupt and holds the sender off until it is taken.
    uint32_t state = mcpgw_qemu_irq_off();
    uart_take();
    mcpgw_qemu_irq_restore(state);
}

// --- time -------------------------------------------------------------------------------------

static uint64_t ticks(void) {
    init();
    uint32_t state = mcpgw_qemu_irq_off();
    uint32_t high = clock_high;
    uint32_t low = ~CLOCK_TIMER->value;
    if (CLOCK_TIMER->intstatus) {
        // It has wrapped since interrupts went off, before or after the value was read.
        ++high;
        low = ~CLOCK_TIMER->value;
    }
    mcpgw_qemu_irq_restore(state);
    return (uint64_t)high << 32 | low;
}

mp_uint_t mp_hal_ticks_cpu(void) {
    return ticks();
}

mp_uint_t mp_hal_ticks_us(void) {
    return ticks() / TICKS_PER_US;
}

mp_uint_t mp_hal_ticks_ms(void) {
    return ticks() / (1000 * TICKS_PER_US);
}

uint64_t mp_hal_time_ns(void) {
    return ticks() * (1000 / TICKS_PER_US);
}

void mp_hal_delay_us(mp_uint_t us) {
    uint64_t end = ticks() + (uint64_t)us * TICKS_PER_US;
    while (ticks() < end) {
    }
}

void mp_hal_delay_ms(mp_uint_t ms) {
    uint64_t end = ticks() + (uint64_t)ms * 1000 * TICKS_PER_US;
    for (uint64_t now = ticks(); now < end; now = ticks()) {
        mp_event_wait_ms((end - now) / (1000 * TICKS_PER_US) + 1);
    }
}

// Sleep until something is received or timeout_ms have passed; negative: without limit.
void mcpgw_qemu_wait(int32_t timeout_ms) {
    init();
    if (timeout_ms == 0) {
        return;
    }
    uint32_t state = mcpgw_qemu_irq_off();
    if (!event) {
        if (timeout_ms > 0) {
            int32_t longest_ms = INT32_MAX / (1000 * TICKS_PER_US);
            ALARM_TIMER->reload = MIN(timeout_ms, longest_ms) * 1000 * TICKS_PER_US;
            ALARM_TIMER->value = ALARM_TIMER->reload;
            ALARM_TIMER->ctrl = TIMER_ENABLE | TIMER_IRQ;
        }
        // Wakes for a pending interrupt although they are off, so none is missed on the way here.
        __asm volatile ("wfi" ::: "memory");
    }
    mcpgw_qemu_irq_restore(state);
    ALARM_TIMER->ctrl = 0;
    event = false;
}

// FAT wants a date for its files; there is none here.
uint32_t get_fattime(void);
uint32_t get_fattime(void) {
    return 0;
}

// --- standard input, in place of the port's ----------------------------------------------------

uintptr_t __wrap_mp_hal_stdio_poll(uintptr_t flags);
uintptr_t __wrap_mp_hal_stdio_poll(uintptr_t flags) {
    init();
    uintptr_t ready = flags & MP_STREAM_POLL_WR;
    if ((flags & MP_STREAM_POLL_RD) && ringbuf_avail(&rx) > 0) {
        ready |= MP_STREAM_POLL_RD;
    }
    return ready;
}

int __wrap_mp_hal_stdin_rx_chr(void);
int __wrap_mp_hal_stdin_rx_chr(void) {
    init();
    for (;;) {
        uint32_t state = mcpgw_qemu_irq_off();
        int c = ringbuf_get(&rx);
        if (c >= 0 && !(UART->ctrl & UART_RX_IRQ)) {
            UART->ctrl |= UART_RX_IRQ; // there is room again
            uart_take();
        }
        mcpgw_qemu_irq_restore(state);
        if (c >= 0) {
            return c;
        }
        mp_event_wait_indefinite();
    }
}

// --- randomness -------------------------------------------------------------------------------

// Arm semihosting: what the emulator's host can tell.
static uint32_t semihosting(uint32_t operation, void *arg) {
    register uint32_t r0 __asm ("r0") = operation;
    register void *r1 __asm ("r1") = arg;
    __asm volatile ("bkpt 0xab" : "+r" (r0) : "r" (r1) : "memory");
    return r0;
}

// Not secret, only different at every start.
uint32_t mcpgw_qemu_seed(void) {
    uint32_t elapsed[2] = { 0, 0 }; // host time since the emulator began, ns or so
    semihosting(0x30, elapsed); // SYS_ELAPSED
    uint32_t now_s = semihosting(0x11, NULL); // SYS_TIME
    return now_s * 2654435761u ^ elapsed[0] ^ (uint32_t)ticks();
}

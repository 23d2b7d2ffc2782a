#include "mcpscan_console.h"

#include "py/mphal.h"
#include "py/mpthread.h"
#include "py/runtime.h"
#include "py/stream.h"

#if MCPSCAN_CONSOLE && MCPSCAN_CONSOLE_POSIX

// read(2) and write(2) on the descriptors themselves: the port's own mp_hal_stdin_rx_chr() takes one
// byte per system call and turns LF into CR.

#include <errno.h>
#include <poll.h>
#include <unistd.h>

mp_int_t mcpscan_console_read(uint8_t *buf, size_t len) {
    struct pollfd fd = { .fd = STDIN_FILENO, .events = POLLIN };
    // A signal here is dealt with by the VM after this call.
    if (len == 0 || poll(&fd, 1, 0) <= 0) {
        return 0;
    }
    ssize_t n = read(STDIN_FILENO, buf, len);
    if (n > 0) {
        return n;
    }
    // EIO is what a pseudo-terminal gives whose other side is gone.
    return n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK) ? 0 : -1;
}

size_t mcpscan_console_write(const uint8_t *buf, size_t len) {
    size_t done = 0;
    while (done < len) {
        MP_THREAD_GIL_EXIT();
        ssize_t n = write(STDOUT_FILENO, buf + done, len - done);
        int error = n < 0 ? errno : 0;
        if (error == EAGAIN || error == EWOULDBLOCK) {
            struct pollfd fd = { .fd = STDOUT_FILENO, .events = POLLOUT };
            if (poll(&fd, 1, -1) < 0) {
                error = errno;
            }
        }
        MP_THREAD_GIL_ENTER();
        if (n > 0) {
            done += (size_t)n;
        } else if (error == EINTR) {
            mp_handle_pending(true);
        } else if (error != EAGAIN && error != EWOULDBLOCK) {
            break;
        }
    }
    return done;
}

#elif MCPSCAN_CONSOLE

// Every port that uses MicroPython's own CDC driver keeps its input in this ring buffer. Taken byte
// by byte through mp_hal_stdin_rx_chr(), which runs the USB stack each time, it costs 5 us a byte on
// RP2040.
#if MICROPY_HW_USB_CDC && MICROPY_HW_ENABLE_USBDEV && !MICROPY_EXCLUDE_SHARED_TINYUSB_USBD_CDC
#include "py/ringbuf.h"
#define STDIN_RING (1)
#else
#define STDIN_RING (0)
#endif

#define STUCK_MS (2000)

mp_int_t mcpscan_console_read(uint8_t *buf, size_t len) {
    size_t n = 0;
    // With USB the poll also refills the ring: more than one ring's worth can come out of one call.
    while (n < len && (mp_hal_stdio_poll(MP_STREAM_POLL_RD) & MP_STREAM_POLL_RD)) {
        #if STDIN_RING
        size_t some = MIN(ringbuf_avail(&stdin_ringbuf), len - n);
        if (some > 0) {
            ringbuf_get_bytes(&stdin_ringbuf, buf + n, some);
            n += some;
            continue;
        }
        #endif
        // What is there came from elsewhere: a UART without the ring, or os.dupterm().
        buf[n++] = (uint8_t)mp_hal_stdin_rx_chr();
    }
    return (mp_int_t)n;
}

size_t mcpscan_console_write(const uint8_t *buf, size_t len) {
    size_t done = 0;
    mp_uint_t moved = mp_hal_ticks_ms();
    while (done < len) {
        // On rp2 a full USB buffer ends this call after 500 ms with what had room.
        size_t n = mp_hal_stdout_tx_strn((const char *)buf + done, len - done);
        if (n > 0) {
            done += n;
            moved = mp_hal_ticks_ms();
        } else if ((mp_uint_t)(mp_hal_ticks_ms() - moved) >= STUCK_MS) {
            break;
        } else {
            mp_event_wait_ms(1);
        }
    }
    return done;
}

#endif

// Raw bytes from and to the console: stdin and stdout on Unix, the REPL's USB or UART on a board.

#ifndef MCPSCAN_CONSOLE_H
#define MCPSCAN_CONSOLE_H

#include "py/obj.h"

#if defined(__EMSCRIPTEN__) || defined(_WIN32)
// No byte stream to serve.
#define MCPSCAN_CONSOLE (0)
#elif defined(__unix__) || defined(__APPLE__)
#define MCPSCAN_CONSOLE (1)
#define MCPSCAN_CONSOLE_POSIX (1)
#else
#define MCPSCAN_CONSOLE (1)
#define MCPSCAN_CONSOLE_POSIX (0)
#endif

// Read what is there, at most len bytes, without waiting. Returns how many, 0 if nothing is there, -1
// at the end of the file (Unix). Runs no Python code, so that a buffer's address stays valid.
mp_int_t mcpscan_console_read(uint8_t *buf, size_t len);

// Write all of it, waiting for room; a board gives up when nothing moved for 2 s. Returns how many
// bytes went out. May raise KeyboardInterrupt.
size_t mcpscan_console_write(const uint8_t *buf, size_t len);

#endif // MCPSCAN_CONSOLE_H

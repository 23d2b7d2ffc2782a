// Measures an MCP server over stdio: starts it, opens the conversation, then sends one tools/call at a
// time and waits for the line that answers it.
//
//   stdio_load ERA CALLS COMMAND [ARGUMENT...]
//
// ERA: "legacy" (initialize of 2025-11-25) or "modern" (2026-07-28: no handshake, _meta in every
// request). Every answer must have the id of its call and the right sum. Prints one JSON object: calls
// per second; p50, p99 and max in microseconds; ms from the start to the first answer; peak resident
// memory in KB; and the microseconds of processor time the server took per call.

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define META ",\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"," \
    "\"io.modelcontextprotocol/clientInfo\":{\"name\":\"bench\",\"version\":\"1\"}," \
    "\"io.modelcontextprotocol/clientCapabilities\":{}}"
#define INITIALIZE "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{" \
    "\"protocolVersion\":\"2025-11-25\",\"capabilities\":{}," \
    "\"clientInfo\":{\"name\":\"bench\",\"version\":\"1\"}}}\n"
#define DISCOVER "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"server/discover\",\"params\":{%s}}\n"
#define INITIALIZED "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n"
#define CALL "{\"jsonrpc\":\"2.0\",\"id\":%ld,\"method\":\"tools/call\",\"params\":{" \
    "\"name\":\"add\",\"arguments\":{\"a\":%ld,\"b\":7}%s}}\n"

static pid_t server;
static int to_server, from_server;
static char answer[65536]; // a line, with 0 in place of its LF
static size_t have; // bytes in it that have come

static void fail(const char *why) {
    fprintf(stderr, "stdio_load: %s; last came: %.*s\n", why, (int)have, answer);
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void start(char **command) {
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || (server = fork()) < 0) {
        fail("no pipe or no process");
    }
    if (server == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        execvp(command[0], command);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    to_server = in[1];
    from_server = out[0];
}

static void put(const char *text, size_t size) {
    // Far below what a pipe holds: it goes out at once.
    if (write(to_server, text, size) != (ssize_t)size) {
        fail("the server does not read");
    }
}

// One line comes at a time, for one request is sent at a time.
static void get_line(void) {
    for (have = 0; have == 0 || answer[have - 1] != '\n';) {
        ssize_t n = read(from_server, answer + have, sizeof(answer) - have);
        if (n <= 0) {
            fail("no answer");
        }
        have += (size_t)n;
    }
    answer[have - 1] = 0;
}

static void expect(const char *text) {
    if (strstr(answer, text) == NULL) {
        fail(text);
    }
}

static void call(long i, const char *meta) {
    char text[1024];
    long id = 1000000 + i, a = i % 1000;
    put(text, (size_t)snprintf(text, sizeof(text), CALL, id, a, meta));
    get_line();
    snprintf(text, sizeof(text), "\"id\":%ld", id);
    expect(text);
    snprintf(text, sizeof(text), "\"text\":\"%ld\"", a + 7);
    expect(text);
}

// The number behind `key` in a file of /proc.
static long proc_value(const char *file, const char *key) {
    char path[64], text[4096];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)server, file);
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0) {
        fail(path);
    }
    close(fd);
    text[n] = 0;
    const char *at = strstr(text, key);
    return at == NULL ? -1 : strtol(at + strlen(key), NULL, 10);
}

// Processor time of all of the server's threads so far, in ns.
static uint64_t processor_ns(void) {
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(server, &clock) != 0 || clock_gettime(clock, &t) != 0) {
        fail("no processor clock");
    }
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    long calls = argc < 4 ? 0 : strtol(argv[2], NULL, 10);
    if (calls <= 0) {
        fprintf(stderr, "usage: stdio_load legacy|modern CALLS COMMAND...\n");
        return 2;
    }
    int modern = strcmp(argv[1], "modern") == 0;
    const char *meta = modern ? META : "";
    uint32_t *took = calloc((size_t)calls, sizeof(*took));
    if (took == NULL) {
        fail("no memory");
    }

    uint64_t began = now_ns();
    start(argv + 3);
    if (modern) {
        char text[1024];
        put(text, (size_t)snprintf(text, sizeof(text), DISCOVER, META + 1));
    } else {
        put(INITIALIZE, sizeof(INITIALIZE) - 1);
    }
    get_line();
    double first_ms = (double)(now_ns() - began) / 1e6;
    expect("\"result\"");
    if (!modern) {
        put(INITIALIZED, sizeof(INITIALIZED) - 1);
    }
    for (long i = 0; i < calls / 10; i++) { // to warm up
        call(i, meta);
    }

    uint64_t busy = processor_ns(), from = now_ns(), last = from;
    for (long i = 0; i < calls; i++) {
        call(i, meta);
        uint64_t now = now_ns();
        took[i] = (uint32_t)(now - last);
        last = now;
    }
    busy = processor_ns() - busy;
    qsort(took, (size_t)calls, sizeof(*took), by_size);
    printf("{\"per_s\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f,\"first_ms\":%.2f,"
        "\"rss_kb\":%ld,\"cpu_us\":%.2f}\n",
        (double)calls * 1e9 / (double)(last - from), took[calls / 2] / 1e3, took[calls * 99 / 100] / 1e3,
        took[calls - 1] / 1e3, first_ms, proc_value("status", "VmHWM:"), (double)busy / 1e3 / (double)calls);
    close(to_server); // the server's end of input
    return waitpid(server, NULL, 0) == server ? 0 : 1;
}

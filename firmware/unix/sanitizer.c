// Defaults for the sanitizer build.  The garbage collector never gives memory back to malloc at exit,
// so a leak report would say nothing.  Undefined behaviour ends the program like any other report (the
// compiler's own -fno-sanitize-recover miscompiles the byte code loop's exception handling).

#if defined(__SANITIZE_ADDRESS__)
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "detect_leaks=0";
}

const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void) {
    return "halt_on_error=1:print_stacktrace=1";
}
#endif

// ISO C forbids an empty translation unit.
typedef int mcpgw_sanitizer_unused_t;

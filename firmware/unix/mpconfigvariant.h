// The unix build of the gateway has the features of MicroPython's standard variant, but for threads:
// every allocation and every look at the interpreter's state would take a lock for them.
#define MICROPY_CONFIG_ROM_LEVEL (MICROPY_CONFIG_ROM_LEVEL_EXTRA_FEATURES)

// Frames of Python functions on a stack of their own (pystack.c) instead of the heap, where each
// costs a search for free blocks: two thirds of the time of a call of a tool.
#define MICROPY_ENABLE_PYSTACK (1)

// One byte each; remembers where in its dict a name was found last.
#define MICROPY_OPT_MAP_LOOKUP_CACHE_SIZE (1024)

// Batches of queued calls are compressed.
#define MICROPY_PY_DEFLATE_COMPRESS (1)

#include "variants/mpconfigvariant_common.h"

# The unix build of the gateway: MicroPython's standard variant without what needs other libraries
# (btree, ffi), with TLS that reads PEM files and can show the peer's certificate.
FROZEN_MANIFEST ?= $(VARIANT_DIR)/manifest.py

# Speed counts more than size here; the sanitizer build (DEBUG) has an optimisation of its own.
ifndef DEBUG
COPT ?= -O2
endif
LDFLAGS += -Wl,--wrap=mp_pystack_init

MICROPY_PY_BTREE = 0
MICROPY_PY_FFI = 0
MICROPY_PY_THREAD = 0
MICROPY_PY_SSL = 1
MICROPY_SSL_MBEDTLS = 1

CFLAGS += -DMBEDTLS_PEM_PARSE_C -DMBEDTLS_BASE64_C -DMBEDTLS_SSL_KEEP_PEER_CERTIFICATE

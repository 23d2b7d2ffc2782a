# Included by the boards of the qemu port: what they share, and what firmware/qemu adds to the port, by
# configuration and by link-time wrapping.  FIRMWARE_QEMU is this folder.
QEMU_ARCH = arm

CFLAGS += -mthumb -DQEMU_SOC_MPS2
SRC_BOARD_O = shared/runtime/gchelper_native.o shared/runtime/gchelper_thumb2.o

# About what an RP2040 leaves a gateway, so that what runs here runs there.
MICROPY_HEAP_SIZE = 245760

LDSCRIPT = $(FIRMWARE_QEMU)/mps2.ld
FROZEN_MANIFEST ?= $(BOARD_DIR)/manifest.py

QEMU_CONFIG := $(FIRMWARE_QEMU)/mcpgw_mpconfigport.h
CFLAGS += -DMP_CONFIGFILE='"$(QEMU_CONFIG)"'
QSTR_GLOBAL_DEPENDENCIES += $(QEMU_CONFIG)

SRC_C += $(FIRMWARE_QEMU)/mps2.c $(FIRMWARE_QEMU)/start.c
QEMU_WRAPPED = mp_hal_stdio_poll mp_hal_stdin_rx_chr pyexec_friendly_repl pyexec_raw_repl mp_semihosting_init
LDFLAGS += $(addprefix -Wl$(comma)--wrap=,$(QEMU_WRAPPED))
comma := ,

MICROPY_VFS_LFS2 = 1

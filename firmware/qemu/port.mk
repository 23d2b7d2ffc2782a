# Included by the boards of the qemu port: what firmware/qemu adds to the port, by configuration and
# by link-time wrapping.  FIRMWARE_QEMU is this folder.
QEMU_CONFIG := $(FIRMWARE_QEMU)/mcpgw_mpconfigport.h
CFLAGS += -DMP_CONFIGFILE='"$(QEMU_CONFIG)"'
QSTR_GLOBAL_DEPENDENCIES += $(QEMU_CONFIG)

SRC_C += $(FIRMWARE_QEMU)/mps2.c $(FIRMWARE_QEMU)/start.c
QEMU_WRAPPED = mp_hal_stdio_poll mp_hal_stdin_rx_chr pyexec_friendly_repl pyexec_raw_repl
LDFLAGS += $(addprefix -Wl$(comma)--wrap=,$(QEMU_WRAPPED))
comma := ,

MICROPY_VFS_LFS2 = 1

# Arm MPS2 with the AN385 image (Cortex-M3), as qemu emulates it, as an MCP gateway.
QEMU_MACHINE = mps2-an385

CFLAGS += -mcpu=cortex-m3 -mfloat-abi=soft
CFLAGS += -DMICROPY_HW_MCU_NAME='"Cortex-M3"'
MPY_CROSS_FLAGS += -march=armv7m

FIRMWARE_QEMU := $(abspath $(BOARD_DIR)/../../firmware/qemu)
include $(FIRMWARE_QEMU)/port.mk

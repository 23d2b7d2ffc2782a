# Arm MPS2 with the AN386 image (Cortex-M4 with FPU and DSP instructions), as qemu emulates it, as an
# MCP gateway.
QEMU_MACHINE = mps2-an386

# Floats in the FPU's registers, as native modules for this architecture expect them.
CFLAGS += -mcpu=cortex-m4 -mfpu=fpv4-sp-d16 -mfloat-abi=hard
CFLAGS += -DMICROPY_HW_MCU_NAME='"Cortex-M4F"'
MPY_CROSS_FLAGS += -march=armv7emsp

FIRMWARE_QEMU := $(abspath $(BOARD_DIR)/../../firmware/qemu)
include $(FIRMWARE_QEMU)/port.mk

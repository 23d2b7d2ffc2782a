# Arm MPS2 with the AN385 image (Cortex-M3), as qemu emulates it, as an MCP gateway.
QEMU_ARCH = arm
QEMU_MACHINE = mps2-an385

CFLAGS += -mthumb -mcpu=cortex-m3 -mfloat-abi=soft
CFLAGS += -DQEMU_SOC_MPS2
CFLAGS += -DMICROPY_HW_MCU_NAME='"Cortex-M3"'
MPY_CROSS_FLAGS += -march=armv7m
SRC_BOARD_O = shared/runtime/gchelper_native.o shared/runtime/gchelper_thumb2.o

# About what an RP2040 leaves a gateway, so that what runs here runs there.
MICROPY_HEAP_SIZE = 245760

LDSCRIPT = $(BOARD_DIR)/mps2.ld
FROZEN_MANIFEST ?= $(BOARD_DIR)/manifest.py

FIRMWARE_QEMU := $(abspath $(BOARD_DIR)/../../firmware/qemu)
include $(FIRMWARE_QEMU)/port.mk

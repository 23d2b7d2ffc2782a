RING_DIR := $(USERMOD_DIR)

SRC_USERMOD_C += $(RING_DIR)/ring_mod.c
SRC_USERMOD_LIB_C += $(RING_DIR)/ring_core.c

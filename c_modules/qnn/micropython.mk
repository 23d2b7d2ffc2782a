QNN_DIR := $(USERMOD_DIR)

SRC_USERMOD_C += $(wildcard $(QNN_DIR)/*_mod.c)
SRC_USERMOD_LIB_C += $(filter-out %_mod.c %_host.c,$(wildcard $(QNN_DIR)/qnn_*.c))
SRC_USERMOD_LIB_ASM += $(wildcard $(QNN_DIR)/qnn_*.S)
CFLAGS_USERMOD += -I$(QNN_DIR)

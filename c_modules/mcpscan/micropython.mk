MCPSCAN_DIR := $(USERMOD_DIR)

SRC_USERMOD_C += $(MCPSCAN_DIR)/mcpscan_mod.c
SRC_USERMOD_LIB_C += $(MCPSCAN_DIR)/mcpscan_core.c $(MCPSCAN_DIR)/mcpscan_token.c \
	$(MCPSCAN_DIR)/mcpscan_console.c

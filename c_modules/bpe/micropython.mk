BPE_DIR := $(USERMOD_DIR)

SRC_USERMOD_C += $(BPE_DIR)/bpe_mod.c
SRC_USERMOD_LIB_C += $(addprefix $(BPE_DIR)/,bpe_core.c bpe_merge.c bpe_open.c bpe_split.c bpe_unicode.c bpe_vocab.c)

"""Vocabularies of other tokenizers to .mgt: reading, training, writing; see docs/tokenizer-format.md."""

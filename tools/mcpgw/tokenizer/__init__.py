"""Vocabularies of other tokenizers to .mgt: reading, training, writing.

docs/tokenizer-format.md has the format.
"""

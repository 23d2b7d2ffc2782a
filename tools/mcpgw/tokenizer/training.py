"""Training a small vocabulary from a text, with the `tokenizers` library."""

from . import huggingface
from .vocabulary import STYLES, VocabularyError

SMALLEST = 257


def train(texts, size, style="gpt2", specials=(), progress=False):
    """The tokenizer.json (str) of a byte-level BPE vocabulary.

    texts: an iterable of str; size: tokens at most, with the 256 bytes and the special ones;
    style: gpt2, cl100k or o200k, how text is split; progress: whether bars on the terminal say how
    far it is. Raises VocabularyError.
    """
    try:
        from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
    except ImportError:
        raise VocabularyError(
            "training needs the package tokenizers: pip install 'mcpgw[convert]'"
        ) from None
    patterns = {
        STYLES[of]: pattern for pattern, (of, digits) in huggingface.SPLITS.items() if digits != 1
    }
    if style not in patterns:
        raise VocabularyError(f"no style {style}: one of {', '.join(patterns)}")
    if size < SMALLEST + len(specials):
        raise VocabularyError(f"a vocabulary has at least {SMALLEST} tokens and the special ones")
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(patterns[style]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(specials),
        show_progress=progress,
    )
    texts = list(texts)
    if not any(text.strip() for text in texts):
        raise VocabularyError("there is no text to train from")
    made.train_from_iterator(texts, trainer)
    return made.to_str()

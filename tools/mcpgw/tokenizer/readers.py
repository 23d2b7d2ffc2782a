"""Reading the files of other tokenizers into a Vocabulary: tiktoken's ranks and llama2.c's
tokenizer.bin; huggingface.py reads tokenizer.json."""

import base64
import binascii
import struct

from .vocabulary import (
    CL100K,
    GPT2,
    O200K,
    PREFIX,
    SPACES,
    TRAILING,
    WHOLE,
    Vocabulary,
    VocabularyError,
    order_merges,
)

END = "<|endoftext|>"
# What goes with the ranks: style, digits in a piece, flags, special tokens.
ENCODINGS = {
    "gpt2": (GPT2, 0, 0, {END: 50256}),
    "r50k_base": (GPT2, 0, 0, {END: 50256}),
    "p50k_base": (GPT2, 0, 0, {END: 50256}),
    "cl100k_base": (
        CL100K,
        3,
        TRAILING,
        {
            END: 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
    "o200k_base": (O200K, 3, 0, {END: 199999, "<|endofprompt|>": 200018}),
}


def tiktoken_ranks(data):
    """{token bytes: rank} of a .tiktoken file: lines of base64 and a number."""
    ranks = {}
    for number, line in enumerate(data.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            text, rank = words
            ranks[base64.b64decode(text, validate=True)] = int(rank)
        except (ValueError, binascii.Error):
            raise VocabularyError(
                f"line {number} is not a token in base64 and its rank: no tiktoken file"
            ) from None
    if not ranks:
        raise VocabularyError("there is no token in it: no tiktoken file")
    return ranks


def from_ranks(ranks, encoding, specials=None):
    """The Vocabulary of tiktoken ranks {bytes: rank}.

    encoding: a name in ENCODINGS, which says how text is split; specials: {text: id} in place of
    the encoding's own. Raises VocabularyError.
    """
    style, digits, flags, own = ENCODINGS[encoding]
    specials = own if specials is None else specials
    byte_ids = [ranks.get(bytes([byte])) for byte in range(256)]
    if None in byte_ids:
        raise VocabularyError(f"no token for byte {byte_ids.index(None)}")
    candidates = sorted((rank, text) for text, rank in ranks.items() if len(text) > 1)
    merges, unreachable = order_merges(
        [(text, rank, rank) for rank, text in candidates],
        lambda left, right: ranks.get(left + right),
    )
    used = set(ranks.values())
    clash = [text for text, id in specials.items() if id in used]
    if clash:
        raise VocabularyError(
            f"special token {clash[0]} has the number of another one: is the encoding {encoding}?"
        )
    return Vocabulary(
        style=style,
        digits=digits,
        flags=flags,
        byte_ids=byte_ids,
        wholes=unreachable,
        others=[(text.encode(), id) for text, id in specials.items()],
        specials=set(specials.values()),
        merges=merges,
        eos=specials.get(END, -1),
    )


def llama2c(data):
    """The Vocabulary of a llama2.c tokenizer.bin: u32 longest, then per token f32 score, u32
    length, bytes. Tokens 0 to 2 are unknown, begin and end, 3 to 258 the bytes."""
    rows = []
    try:
        at = 4
        struct.unpack_from("<I", data)
        while at < len(data):
            score, length = struct.unpack_from("<fI", data, at)
            text = data[at + 8 : at + 8 + length]
            if len(text) != length:
                raise struct.error
            rows.append((text, score))
            at += 8 + length
    except struct.error:
        raise VocabularyError("not a llama2.c tokenizer.bin: cut short") from None
    if len(rows) < 259 or any(rows[3 + b][0] != b"<0x%02X>" % b for b in range(256)):
        raise VocabularyError("not a llama2.c tokenizer.bin: tokens 3 to 258 are not the bytes")
    fallback = list(range(3, 259))
    pieces = [(text, id, -score) for id, (text, score) in enumerate(rows) if id >= 259]
    controls = [(rows[id][0].strip(), id) for id in range(3)]
    found = pieces_of_characters(pieces, fallback, controls)
    found.specials = {1, 2}
    found.bos, found.eos = 1, 2
    found.flags = PREFIX
    return found


def pieces_of_characters(pieces, fallback, controls):
    """The Vocabulary of a SentencePiece BPE model with byte fallback.

    pieces: [(bytes, id, rank)], where spaces are spaces, the lowest rank being merged first;
    fallback: ids of the bytes; controls: [(bytes, id)] that no text is merged to.
    """
    ranks, ids = {}, {}
    for text, id, rank in pieces:
        if text in ids:
            raise VocabularyError(f"tokens {ids[text]} and {id} have the same text")
        ids[text] = id
        ranks[text] = rank
    chars, byte_ids, others, candidates = {}, list(fallback), list(controls), []
    for text, id, rank in sorted(pieces, key=lambda piece: piece[2]):
        if _is_character(text):
            if len(text) == 1:
                others.append((text, byte_ids[text[0]]))
                byte_ids[text[0]] = id
            else:
                chars[text] = id
        elif text:
            candidates.append((text, id, rank))
    multiple = [rank for _, _, rank in candidates]
    if len(set(multiple)) != len(multiple):
        raise VocabularyError("two tokens have the same score: which is merged first is not known")
    merges, unreachable = order_merges(
        candidates, lambda left, right: ranks.get(left + right), set(chars)
    )
    # No token goes on from another character to a space: then text may be cut before spaces.
    apart = all(b" " not in text.lstrip(b" ") for text, _, _ in candidates)
    return Vocabulary(
        style=SPACES if apart else WHOLE,
        byte_ids=byte_ids,
        chars=list(chars.items()),
        others=others + unreachable,
        merges=merges,
    )


def _is_character(text):
    try:
        return len(text.decode()) == 1
    except UnicodeDecodeError:
        return False

"""Reading tokenizer.json of Hugging Face's `tokenizers` into a Vocabulary: BPE over bytes (GPT-2,
cl100k, o200k and their like) and over characters with byte fallback (Llama)."""

import json

from .readers import pieces_of_characters
from .vocabulary import (
    CL100K,
    GPT2,
    LOWER_STEMS,
    O200K,
    PREFIX,
    PREFIX_EACH,
    PREFIX_UNLESS,
    Vocabulary,
    VocabularyError,
    order_merges,
)

STEM = "\u2581"
_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_HEAD = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_TAIL = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_FIRST = r"[^\r\n\p{L}\p{N}]?"
_SPLIT_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# Regular expressions that are known: (style, digits in a piece).
SPLITS = {
    _SPLIT_GPT2: (GPT2, 0),
    rf"{_CONTRACTION}|{_WORD}|\p{{N}}{{1,3}}|{_REST}": (CL100K, 3),
    rf"{_CONTRACTION}|{_WORD}|\p{{N}}|{_REST}": (CL100K, 1),
    "|".join(
        (
            f"{_FIRST}{_HEAD}*{_TAIL}+{_CONTRACTION}?",
            f"{_FIRST}{_HEAD}+{_TAIL}*{_CONTRACTION}?",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        )
    ): (O200K, 3),
}


def byte_alphabet():
    """{character: byte} by which byte-level vocabularies are written as text."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + at): byte for at, byte in enumerate(rest)
    }


def from_json(data):
    """The Vocabulary of a tokenizer.json (bytes). Raises VocabularyError with what is not
    supported."""
    try:
        file = json.loads(data)
        model = file["model"]
        vocab, merges = model["vocab"], model["merges"]
    except (ValueError, KeyError, TypeError):
        raise VocabularyError("not a tokenizer.json with a BPE model") from None
    if model.get("type", "BPE") != "BPE":
        raise VocabularyError(f"a {model['type']} model: only BPE is supported")
    for name in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
        if model.get(name):
            raise VocabularyError(f"{name} is not supported")
    pairs = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in merges]
    if any(len(pair) != 2 for pair in pairs):
        raise VocabularyError("a merge is not one of two tokens")
    added = file.get("added_tokens") or []
    for token in added:
        if token.get("lstrip") or token.get("rstrip") or token.get("single_word"):
            raise VocabularyError(
                f"added token {token['content']!r} strips or wants whole words: not supported"
            )
    if model.get("byte_fallback"):
        found = _characters(file, vocab, pairs, added)
    else:
        found = _byte_level(file, model, vocab, pairs, added)
    by_text = {text: id for text, id in found.others if id in found.specials}
    for name, texts in (
        ("bos", (b"<s>", b"<|begin_of_text|>")),
        ("eos", (b"</s>", b"<|endoftext|>")),
    ):
        setattr(found, name, next((by_text[text] for text in texts if text in by_text), -1))
    return found


def _steps(part, kind):
    """The steps of a pre-tokenizer or normalizer, of which a Sequence has several."""
    if not part:
        return []
    return part[kind] if part.get("type") == "Sequence" else [part]


def _refuse(what, step):
    raise VocabularyError(f"{what} {json.dumps(step)[:200]} is not supported")


def _byte_level(file, model, vocab, pairs, added):
    for step in _steps(file.get("normalizer"), "normalizers"):
        _refuse("normalizer", step)
    style = None
    for step in _steps(file.get("pre_tokenizer"), "pretokenizers"):
        if step["type"] == "Split":
            pattern = step["pattern"].get("Regex")
            if (
                pattern not in SPLITS
                or step["behavior"] != "Isolated"
                or step.get("invert")
                or style
            ):
                _refuse("pre-tokenizer", step)
            style = SPLITS[pattern]
        elif step["type"] == "ByteLevel":
            if step.get("add_prefix_space") or (style and step.get("use_regex", True)):
                _refuse("pre-tokenizer", step)
            style = style or (SPLITS[_SPLIT_GPT2] if step.get("use_regex", True) else None)
        else:
            _refuse("pre-tokenizer", step)
    if style is None:
        raise VocabularyError("a byte-level model without a known way to split text")
    alphabet = byte_alphabet()
    controls = {token["content"]: token["id"] for token in added}

    def raw(text):
        try:
            return bytes(alphabet[character] for character in text)
        except KeyError:
            return None

    texts = {raw(text): id for text, id in vocab.items() if text not in controls}
    if None in texts:
        raise VocabularyError(
            "tokens are not written in GPT-2's alphabet of bytes: not byte-level"
        )
    byte_ids = [texts.get(bytes([byte])) for byte in range(256)]
    if None in byte_ids:
        raise VocabularyError(
            f"no token for byte {byte_ids.index(None)}: a vocabulary must have all 256"
        )
    ranks = {}
    for rank, (left, right) in enumerate(pairs):
        ranks.setdefault((raw(left), raw(right)), rank)
    made, others = _merges(ranks, texts)
    return Vocabulary(
        style=style[0],
        digits=style[1],
        byte_ids=byte_ids,
        wholes=others if model.get("ignore_merges") else [],
        others=_others(controls, [] if model.get("ignore_merges") else others),
        specials=set(controls.values()),
        merges=made,
    )


def _others(controls, unreachable):
    return [(text.encode(), id) for text, id in controls.items() if text] + unreachable


def _merges(ranks, texts, chars=()):
    """(merges, unreachable tokens) from {(left, right): rank} and {text: id}."""
    best = {}
    for (left, right), rank in ranks.items():
        best.setdefault(left + right, []).append(rank)
    candidates, missing = [], []
    for text, id in texts.items():
        if len(text) > 1 and text not in chars:
            candidates += [(text, id, rank) for rank in best.get(text, ())]
            if text not in best:
                missing.append((text, id))
    candidates.sort(key=lambda candidate: candidate[2])
    made, unreachable = order_merges(
        candidates, lambda left, right: ranks.get((left, right)), chars
    )
    return made, missing + unreachable


def _characters(file, vocab, pairs, added):
    """Llama's: text gets a space before it, spaces are U+2581, characters that are no tokens are
    bytes."""
    flags = LOWER_STEMS
    replaced = False
    for step in _steps(file.get("normalizer"), "normalizers"):
        if step["type"] == "Prepend" and step["prepend"] == STEM:
            flags |= PREFIX | PREFIX_EACH
        elif step["type"] == "Replace" and step["pattern"] == {"String": " "}:
            replaced = step["content"] == STEM
        else:
            _refuse("normalizer", step)
    for step in _steps(file.get("pre_tokenizer"), "pretokenizers"):
        if step["type"] != "Metaspace" or step.get("split", True) or step["replacement"] != STEM:
            _refuse("pre-tokenizer", step)
        scheme = step.get("prepend_scheme", "always")
        flags |= {"always": PREFIX_UNLESS | PREFIX_EACH, "first": PREFIX_UNLESS, "never": 0}[
            scheme
        ]
        replaced = True
    if not replaced:
        raise VocabularyError("byte fallback without U+2581 for spaces is not supported")
    controls = {token["content"]: token["id"] for token in added}
    fallback = [vocab.get(f"<0x{byte:02X}>") for byte in range(256)]
    if None in fallback:
        raise VocabularyError(f"no token <0x{fallback.index(None):02X}> to fall back to")
    skip = {*controls, *(f"<0x{byte:02X}>" for byte in range(256))}
    texts = {text: id for text, id in vocab.items() if text not in skip}
    ranks, seen = {}, {}
    for rank, (left, right) in enumerate(pairs):
        ranks.setdefault((_plain(left), _plain(right)), rank)
        seen.setdefault(left + right, rank)
    # Which token is merged first is told by the merges; what is in none of them is merged by none.
    last = len(pairs)
    pieces = [(_plain(t), id, seen.get(t, last + id)) for t, id in texts.items()]
    found = pieces_of_characters(
        pieces, fallback, [(text.encode(), id) for text, id in controls.items() if text]
    )
    chars = {text for text, _ in found.chars}
    merges, unreachable = _merges(ranks, {_plain(t): id for t, id in texts.items()}, chars)
    base = {id for _, id in found.chars} | set(found.byte_ids)
    found.merges = merges
    found.others = [row for row in found.others if row[1] in {*controls.values(), *fallback}]
    found.others += [row for row in unreachable if row[1] not in base]
    found.flags = flags
    found.specials = set(controls.values())
    return found


def _plain(text):
    return text.replace(STEM, " ").encode()

"""Text by a small language model that runs in place.

    language = Language("/rom/stories.mgm", "/rom/tok512.mgt")
    for piece in language.generate("Once upon a time", max_tokens=50):
        print(piece, end="")

`mcpgw convert` makes models, `mcpgw tokenizer` their vocabularies.
"""

from array import array

from ..compat import const, sleep_ms, ticks_diff, ticks_ms
from .model import LANGUAGE, ModelError, _metadata, _opened, _taken, _unreadable
from .tokenizer import Tokenizer

try:
    import _qnn as core
except ImportError:
    core = None  # a host puts mcpgw.native_llama here

# What no text goes beyond unless the caller says more.
MAX_TOKENS = const(256)
MAX_MS = const(60000)
# Positions of the cache: what a prompt and its continuation take together.
POSITIONS = const(256)
# Others wait so long for one slice of the work.
_SLICE_MS = const(4)
_ONE = const(65536)


class Language:
    """One language model and its vocabulary.

    source: path of the .mgm file or a buffer with it. tokenizer: a Tokenizer, or what makes one.
    positions: tokens of prompt and continuation together, no more than the model's own; RAM grows
    with them (arena_bytes). name: for people and errors. store: lends the RAM (store.py).

    Raises ModelError; ValueError or OSError for a vocabulary.
    """

    labels = ()
    rebuilds = False

    def __init__(self, source, tokenizer, positions=POSITIONS, name=None, store=None):
        self.name = name or (source if isinstance(source, str) else "language model")
        if core is None:
            raise ModelError("%s: language models need a firmware with _qnn" % self.name)
        if not isinstance(tokenizer, Tokenizer):
            try:
                tokenizer = Tokenizer(tokenizer)
            except OSError as e:
                raise _unreadable(tokenizer, self.name, e) from None
        self.tokenizer = tokenizer
        try:
            self._buf = buf = _opened(source, self.name)
            core.check(buf)
            self.kind, self.size, _, self.macs, at, length = core.info(buf)
            if self.kind != LANGUAGE:
                raise ValueError("it is no language model")
            # What may be in the cache, and the RAM that it takes.
            self.positions, self.arena_bytes = core.llama_state(buf, positions)
        except ValueError as e:
            raise ModelError("%s: %s" % (self.name, e)) from None
        self._at = at, length
        self._m = None
        self._cached = None  # tokens that are in the cache
        self._text = None  # the one that is being made
        self._lock = None
        self._store = store
        self.runs = 0
        if store is None:
            self.load()

    @property
    def meta(self):
        """The file's metadata, a dict."""
        return _metadata(self._buf, self._at, self.name)

    @property
    def loaded(self):
        """Whether it has its RAM."""
        return self._m is not None

    @property
    def busy(self):
        """Whether a text is being made."""
        return self._text is not None

    def load(self):
        """Take the RAM. Raises ModelError when there is no room."""
        if self._store:
            self._store.claim(self)
        if self._m is not None:
            return
        try:
            state = _taken(self.arena_bytes, self.name)
            self._m = core.Llama(self._buf, state)
        except (ModelError, ValueError) as e:
            if self._store:
                self._store.returned(self)
            raise ModelError(str(e)) from None
        vocab, _, _, _, self._eos = self._m.info()
        if self.tokenizer.size > vocab:
            told = self.name, self.tokenizer.size, vocab
            raise ModelError("%s: a vocabulary of %d tokens for a model of %d" % told)
        self._bos = self._m.info()[3]
        self._cached = array("H" if vocab <= 65536 else "I")

    def unload(self):
        """Give the RAM back; the next text takes it again."""
        if self.busy:
            raise ModelError("%s: it is running" % self.name)
        self._m = self._cached = None
        if self._store:
            self._store.returned(self)

    def close(self):
        """Give everything back; it makes no text any more."""
        self.unload()
        self._buf = None

    def generate(self, prompt, max_tokens=MAX_TOKENS, max_ms=MAX_MS, stop=(), **sampling):
        """The continuation of `prompt` (str), a Text: `for piece in` it gives str after str as
        they come, `async for piece in` it lets others work meanwhile.

        max_tokens: of the continuation; max_ms: of the time that it takes, prompt included. stop:
        the text ends before the first of these strings. temperature: 0 for the most likely token
        each time; top_p: draw from the likeliest tokens that together have this probability, 1 for
        all; seed: int, the same for the same text; None: another text each time.

        A text that was begun before ends. Raises ModelError for a prompt that is too long.
        """
        if self._buf is None:
            raise ModelError("%s: it was closed" % self.name)
        self.load()
        if self._text:
            self._text.close()
        self._text = text = Text(self, prompt, max_tokens, max_ms, stop, **sampling)
        self.runs += 1
        return text

    async def acomplete(self, prompt, report=None, **options):
        """(continuation, why it ended): one text, others being served meanwhile; waits while
        another is made. report: called with each piece. options: those of generate()."""
        if self._lock is None:
            from asyncio import Lock

            self._lock = Lock()
        async with self._lock:
            text = self.generate(prompt, **options)
            pieces = []
            try:
                async for piece in text:
                    pieces.append(piece)
                    if report:
                        report(piece)
            finally:
                text.close()
            return "".join(pieces), text.reason

    # What Text works with.

    def _read(self, ids):
        """Generator: take the tokens in, of which some may be in the cache; pauses."""
        cached = self._cached
        same = 0
        # The last one is always fed: its logits are wanted.
        while same < min(len(cached), len(ids) - 1) and cached[same] == ids[same]:
            same += 1
        self._forget(same)
        for i in range(same, len(ids)):
            for _ in self._feed(ids[i], i + 1 == len(ids)):
                yield

    def _forget(self, pos):
        self._m.rewind(pos)
        if pos < len(self._cached):
            self._cached = self._cached[:pos]

    def _feed(self, id, logits=True):
        m = self._m
        m.feed(id, logits)
        began = ticks_ms()
        while m.step():
            if ticks_diff(ticks_ms(), began) >= _SLICE_MS:
                yield
                began = ticks_ms()
        self._cached.append(id)
        yield


class Text:
    """A continuation under way; Language.generate() makes it.

    reason: None while it goes on, then why it ended: "end" (the model ended the text), "stop" (a
    stop string), "length" (max_tokens, or no position left), "time" (max_ms) or "closed". tokens:
    how many it has so far; prompt_tokens: how many the prompt has.
    """

    def __init__(
        self, language, prompt, max_tokens, max_ms, stop, temperature=0, top_p=1, seed=None
    ):
        if isinstance(stop, str):
            stop = (stop,)
        if max_tokens < 1 or max_ms < 1 or not 0 <= temperature < 256 or not 0 <= top_p <= 1:
            raise ValueError("max_tokens, max_ms, temperature or top_p out of range")
        if not all(stop):
            raise ValueError("an empty stop string")
        self.reason = None
        self.tokens = 0
        self._language = language
        self._temperature = int(temperature * _ONE + 0.5)
        self._top_p = int(top_p * _ONE + 0.5)
        self._seed = _any_number() if seed is None else seed & 0xFFFFFFFF
        self._stop = stop
        self._held = ""
        ids = _ids(language, prompt)
        self.prompt_tokens = len(ids)
        room = language.positions - len(ids)
        if room < 1:
            told = language.name, len(ids), language.positions
            raise ModelError("%s: the prompt takes %d tokens of %d with its continuation" % told)
        self._most = min(max_tokens, room)
        self._max_ms = max_ms
        self._began = ticks_ms()
        self._decoder = language.tokenizer.decoder(not prompt)
        self._steps = self._run(ids)

    def _run(self, ids):
        """Generator: str after str, None for a pause."""
        language = self._language
        m = language._m
        m.seed(self._seed)
        for _ in language._read(ids):
            yield
            if self._late():
                return
        while True:
            id = m.sample(self._temperature, self._top_p) if self._temperature else m.best()
            if id == language._eos or id == language._bos:
                self.reason = "end"
                break
            self.tokens += 1
            piece = self._decoder.feed(id) if id < language.tokenizer.size else ""
            piece = self._before_stop(piece)
            if piece:
                yield piece
            if self.reason:
                return
            if self.tokens >= self._most:
                self.reason = "length"
                break
            if self._late():
                break
            for _ in language._feed(id):
                yield
        rest = self._before_stop(self._decoder.finish())
        rest += self._held
        self._held = ""
        if rest:
            yield rest

    def _late(self):
        if ticks_diff(ticks_ms(), self._began) >= self._max_ms:
            self.reason = "time"
        return self.reason

    def _before_stop(self, piece):
        """What of the text can be given out once `piece` has come."""
        if not self._stop:
            return piece
        text = self._held + piece
        ends = [at for at in (text.find(stop) for stop in self._stop) if at >= 0]
        if ends:
            self._held = ""
            self.reason = "stop"
            return text[: min(ends)]
        # The longest end of it that may begin a stop string waits.
        for n in range(min(len(text), max(len(stop) for stop in self._stop) - 1), 0, -1):
            end = text[len(text) - n :]
            if any(stop.startswith(end) for stop in self._stop):
                self._held = end
                return text[: len(text) - n]
        self._held = ""
        return text

    def close(self):
        """End it now."""
        self.reason = self.reason or "closed"
        self._done()

    def _done(self):
        self._steps = iter(())
        if self._language._text is self:
            self._language._text = None

    def _next(self):
        try:
            return next(self._steps)
        except StopIteration:
            self._done()
            raise
        except BaseException:
            self.close()
            raise

    def __iter__(self):
        return self

    def __next__(self):
        while True:
            piece = self._next()
            if piece is not None:
                return piece

    def __aiter__(self):
        return self

    async def __anext__(self):
        while True:
            try:
                piece = self._next()
            except StopIteration:
                raise StopAsyncIteration
            if piece is not None:
                return piece
            await sleep_ms(0)


def _any_number():
    try:
        from os import urandom

        return int.from_bytes(urandom(4), "little")
    except ImportError:
        return ticks_ms()


def _ids(language, prompt):
    ids = list(language.tokenizer.encode(prompt)) if prompt else []
    if language._bos >= 0:
        ids.insert(0, language._bos)
    if not ids:
        raise ModelError("%s: an empty prompt, and no token that begins a text" % language.name)
    return ids

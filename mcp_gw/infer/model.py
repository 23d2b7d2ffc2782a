"""A model that runs in place: Model("/rom/kws.mgm"). docs/models.md tells the story."""

import gc
import json
from array import array

from ..compat import const, sleep_ms
from ..errors import ToolError
from . import engine
from .files import in_place
from .values import RANGES, flat, holds_floats, in_range, number, quantised, raw_bytes, real

try:
    from time import ticks_diff, ticks_us
except ImportError:
    from time import perf_counter_ns

    def ticks_us():
        return perf_counter_ns() // 1000

    def ticks_diff(end, start):
        return end - start


GRAPH, TREES, NEIGHBOURS, LANGUAGE = 1, 2, 3, 4
# How long the event loop waits for one slice of the work, and what the first slice holds: MACs.
_SLICE_US = const(4000)
_FIRST_MACS = const(10000)
_MOST_MACS = const(1 << 28)


class ModelError(ToolError):
    """A model cannot be loaded or run as asked; the text says which and why. In a tool it reaches
    the client as the tool's error."""


class Model:
    """One model of an .mgm file.

    source: a path, or a buffer with the file in it (memoryview, bytes); a path in a ROM file
    system is read in place, any other file into RAM. arena: writable buffer of at least
    arena_bytes to compute in; None: one is taken when the model is loaded, which it is at once
    unless a store (see store.py) lends it RAM when it runs.

    name: for people and errors; labels: names of the classes; default: from the metadata. Raises
    ModelError.
    """

    def __init__(self, source, arena=None, name=None, labels=None, store=None):
        self.name = name or (source if isinstance(source, str) else "model")
        self._buf = buf = _opened(source, self.name)
        try:
            engine.check(buf)
            self.kind, self.size, self.arena_bytes, self.macs, at, length = engine.info(buf)
        except ValueError as e:
            raise ModelError("%s: %s" % (self.name, e)) from None
        if self.kind != GRAPH:
            from .tabular import kinds

            if self.kind not in kinds():
                told = "of kind %d, which this firmware does not run" % self.kind
                if self.kind == LANGUAGE:
                    told = "a language model, which mcp_gw.infer.language runs"
                raise ModelError("%s: it is %s" % (self.name, told))
        self._at = at, length
        if name is None:
            self.name = self.meta["name"]
        self._given = arena
        self._graph = None
        self._labels = None if labels is None else tuple(labels)
        self._lock = None
        self._busy = False
        self._macs = _FIRST_MACS
        self._store = store
        self.runs = 0
        if store is None:
            self.load()

    @property
    def meta(self):
        """The file's metadata (dict), made anew each time: it is not kept in RAM."""
        return _metadata(self._buf, self._at, self.name)

    @property
    def labels(self):
        """Names of the classes, a tuple of str; empty for a model without."""
        if self._labels is None:
            self._labels = tuple(self.meta.get("labels") or ())
        return self._labels

    @property
    def loaded(self):
        """Whether it has its arena."""
        return self._graph is not None

    @property
    def busy(self):
        """Whether it runs at the moment."""
        return self._busy

    @property
    def rebuilds(self):
        """Whether its output has the form of its input, as that of an autoencoder."""
        meta = self.meta
        ends = meta.get("inputs"), meta.get("outputs")
        if not all(isinstance(rows, list) and len(rows) == 1 for rows in ends):
            return False
        shapes = [rows[0].get("shape") for rows in ends]
        return shapes[0] is not None and shapes[0] == shapes[1]

    def verify(self):
        """Raise ModelError unless the file has the checksum that its header says."""
        verify(self._buf, self.size, self.name)

    def load(self):
        """Take the arena. Raises ModelError when there is no room."""
        if self._store:
            self._store.claim(self)
        if self._graph is not None:
            return
        try:
            self._graph = self._made()
        except ModelError:
            if self._store:
                self._store.returned(self)
            raise

    def _made(self):
        if self.kind != GRAPH:
            from .tabular import Tabular

            return Tabular(self._buf, self.kind, self.meta)
        arena = self._given
        if arena is None:
            arena = _taken(self.arena_bytes, self.name)
        try:
            return engine.Graph(self._buf, arena)
        except ValueError as e:
            raise ModelError("%s: %s" % (self.name, e)) from None

    def unload(self):
        """Give the arena back; the next run takes one again."""
        if self._busy:
            raise ModelError("%s: it is running" % self.name)
        self._graph = None
        if self._store:
            self._store.returned(self)

    def close(self):
        """Give everything back; it cannot run any more."""
        self.unload()
        self._buf = self._given = None

    # What goes in and out.

    def input(self, i=0):
        """(typecode, scale, zero point, shape) of input i. typecode: as of the array module; scale
        0.0: the values are not quantised."""
        return self._shape(i, False)

    def output(self, i=0):
        """The same of output i."""
        return self._shape(i, True)

    def _shape(self, i, output):
        self._ready()
        return self._graph.shape(i, output)

    def _ready(self):
        if self._buf is None:
            raise ModelError("%s: it was closed" % self.name)
        self.load()

    def _fill(self, i, given):
        """Generator: put `given` into input i; pauses now and then."""
        code, scale, zero, dims = self._graph.shape(i, False)
        view = self._graph.input(i)
        count = len(view)
        if isinstance(given, (bytes, bytearray, memoryview)) and not holds_floats(given):
            data = raw_bytes(given)
            target = raw_bytes(view)
            if len(data) != len(target):
                told = len(data), len(target)
                raise ModelError("%s: input of %d bytes, not %d" % ((self.name,) + told))
            target[:] = data
            return
        low, high = (1, 0) if code == "f" else RANGES[code]
        floats = self.takes_real and scale
        if floats:
            low, high = 1, 0  # every value has a longer way
        at = 0
        try:
            plain = isinstance(given, (list, tuple))
            if not plain or (given and isinstance(given[0], (list, tuple))):
                given = flat(given)
            for value in given:
                if at >= count:
                    pass
                elif type(value) is int and low <= value <= high:
                    view[at] = value
                elif code == "f":
                    view[at] = number(value)
                else:
                    if scale and (floats or isinstance(value, float)):
                        value = quantised(value, scale, zero, code)
                    view[at] = in_range(value, code)
                at += 1
                if not at & 63:
                    yield
        except (ValueError, TypeError, OverflowError) as e:
            told = self.name, at, str(e)
            raise ModelError("%s: input value %d: %s" % told) from None
        if at != count:
            shape = " x ".join(str(n) for n in dims)
            raise ModelError("%s: %d values in, not %d (%s)" % (self.name, at, count, shape))

    @property
    def takes_real(self):
        """Whether whole numbers, too, are values of the real quantity, to be quantised: the
        metadata's `pre` says {"values": "real"}. Floats always are."""
        if self._real is None:
            pre = self.meta.get("pre")
            self._real = isinstance(pre, dict) and pre.get("values") == "real"
        return self._real

    _real = None

    # Running.

    def _steps(self, inputs):
        """Generator: one run; pauses after each slice of work."""
        graph = self._graph
        count = graph.counts()[0]
        if len(inputs) != count:
            raise ModelError("%s: %d inputs, not %d" % (self.name, len(inputs), count))
        for i, given in enumerate(inputs):
            for _ in self._fill(i, given):
                yield
        graph.begin()
        macs = self._macs
        while True:
            began = ticks_us()
            more = graph.step(macs)
            took = ticks_diff(ticks_us(), began)
            if not more:
                break
            # Operators differ in what a MAC takes: the next slice is made from how long this took.
            macs = max(1, min(_MOST_MACS, macs * 2, macs * _SLICE_US // max(took, 1)))
            self._macs = macs
            yield
        self.runs += 1

    def _begin(self):
        if self._busy:
            raise ModelError("%s: it runs already; await arun()" % self.name)
        self._ready()
        self._busy = True

    def run(self, *inputs):
        """Run once, without a pause. inputs: one for each input of the model: a buffer of raw
        values, or a list (nested as you like) of numbers; floats are quantised.

        Returns output 0, or a tuple of all outputs where there are several: buffers in the arena,
        good until the next run. Raises ModelError.
        """
        self._begin()
        try:
            for _ in self._steps(inputs):
                pass
        finally:
            self._busy = False
        return self._outputs()

    async def arun(self, *inputs):
        """run() that lets others work every few milliseconds. Waits while the model runs for
        somebody else. Look at the outputs before you await anything else."""
        if self._lock is None:
            from asyncio import Lock

            self._lock = Lock()
        async with self._lock:
            self._begin()
            try:
                for _ in self._steps(inputs):
                    await sleep_ms(0)
            finally:
                self._busy = False
        return self._outputs()

    def _outputs(self):
        graph = self._graph
        outputs = tuple(graph.output(i) for i in range(graph.counts()[1]))
        return outputs[0] if len(outputs) == 1 else outputs

    def scores(self, i=0):
        """Output i of the last run as real values, a list of floats."""
        _, scale, zero, _ = self._graph.shape(i, True)
        if not scale:
            return list(self._graph.output(i))
        return [real(q, scale, zero) for q in self._graph.output(i)]

    def ranked(self, top=None):
        """[(label, score)] of the last run, best first, no more than `top`. Where the model has no
        labels they are "0", "1" ..."""
        if self.kind == GRAPH:
            scores = self.scores()
            first = None
        else:
            # Of equal scores, and where a score beyond a half is not what decides, as the model
            # says.
            scores = self._graph.classes()
            first = self._graph.chosen
        labels = self.labels
        order = sorted(range(len(scores)), key=lambda i: (i != first, -scores[i], i))[:top]
        return [(labels[i] if i < len(labels) else str(i), scores[i]) for i in order]

    def classify(self, *inputs, top=None):
        """run(), then ranked()."""
        self.run(*inputs)
        return self.ranked(top)

    async def arebuild(self, given):
        """Run and return how far the output is from the input: the mean squared difference of
        their real values, an autoencoder's anomaly score."""
        await self.arun(given)
        out = self.scores()
        _, scale, zero, _ = self.input()
        if isinstance(given, (bytes, bytearray, memoryview)) and not holds_floats(given):
            given = array("b", bytes(given))
        floats = self.takes_real
        total = 0.0
        i = 0
        for value in flat(given):
            if scale and not (floats or isinstance(value, float)):
                value = real(value, scale, zero)
            value -= out[i]
            total += value * value
            i += 1
            if not i & 63:
                await sleep_ms(0)
        return total / i

    async def aclassify(self, *inputs, top=None):
        """classify() that lets others work meanwhile."""
        await self.arun(*inputs)
        return self.ranked(top)


def verify(buf, size, name):
    """Raise ModelError unless a file of `size` bytes has the checksum that its header says."""
    from hashlib import sha256

    digest = sha256(buf[:48])
    for at in range(80, size, 4096):
        digest.update(buf[at : min(at + 4096, size)])
    if digest.digest() != bytes(buf[48:80]):
        told = "checksum does not match: the file is damaged at offset 48"
        raise ModelError("%s: %s" % (name, told))


def _opened(source, name):
    """A model's file as a memoryview, in place where it can be. Raises ModelError."""
    if not isinstance(source, str):
        return memoryview(source)
    try:
        return in_place(source)[0]
    except OSError as e:
        raise _unreadable(source, name, e) from None
    except MemoryError:
        told = "no memory to read it; put it into the ROM file system, where it runs in place"
        raise ModelError("%s: %s" % (name, told)) from None


def _metadata(buf, where, name):
    """The metadata (dict) of a file. Raises ModelError."""
    at, length = where
    try:
        found = json.loads(bytes(buf[at : at + length]).decode())
        found["name"]
    except (ValueError, KeyError, TypeError):
        raise ModelError("%s: its metadata is no JSON object with a name" % name) from None
    return found


def _unreadable(path, name, error):
    """ModelError for a file of the model of this name, which may be the path itself."""
    where = path if path == name else "%s: %s" % (name, path)
    return ModelError("%s cannot be read: %s" % (where, error))


def _taken(size, name):
    """size bytes of RAM."""
    try:
        return bytearray(size)
    except MemoryError:
        gc.collect()
    try:
        return bytearray(size)
    except MemoryError:
        free = " of %d free" % gc.mem_free() if hasattr(gc, "mem_free") else ""
        told = "no memory for its arena: %d bytes in one piece%s" % (size, free)
        raise ModelError("%s: %s" % (name, told)) from None

"""Watches a sensor: a sliding window of samples, what a model or a function makes of it, and
alerts."""

from array import array

from ..compat import run_until, sleep_ms, ticks_add, ticks_diff, ticks_ms
from ..errors import ConfigError
from .alerts import Alerts
from .statistics import Deviation, awaited


class Stream:
    """A sliding window of samples of one sensor.

        stream = Stream(gw, "pump", window=256, hop=128, high=4.0, low=2.0)
        stream.watch(accelerometer.read, every_ms=5)

    gw: the Gateway whose clients hear of it, or None; name: its resource is stream://NAME.
    window: samples that are looked at together; hop: new ones between two looks (default:
    window). channels: numbers in one sample. typecode: how they are kept, "h" (int16) or another
    of the array module.

    A look: features (None, a function of the list of the window's values, or what has
    steps(values), as features.LogMel) makes the input of model (a Model, or the name of one of
    the gateway's). score makes a number of it: "label" (with label=: the model's score of that
    label), "reconstruction" (mean squared difference between the model's output and its input, as
    autoencoders are used), a function of the features (of the model's output where there is a
    model), or what has steps(values). Default: "label" where label= is given, without a model
    statistics.Deviation().

    alerts: see alerts.Alerts. Raises ConfigError, ModelError.
    """

    def __init__(
        self,
        gw,
        name,
        window,
        hop=None,
        channels=1,
        typecode="h",
        features=None,
        model=None,
        score=None,
        label=None,
        description="",
        **alerts,
    ):
        hop = hop or window
        if not 0 < hop <= window or channels < 1:
            raise ConfigError("stream %s: hop is from 1 to window" % name)
        if isinstance(model, str):
            if gw is None or not gw.models:
                raise ConfigError("stream %s: there is no model %s" % (name, model))
            model = gw.models.get(model)
        self.name = name
        self.window = window
        self.hop = hop
        self.channels = channels
        self.model = model
        self.looks = 0  # done
        self.missed = 0  # that were due before the one before was done
        self.latest = None  # what the last look found: a dict
        self._gw = gw
        self._typecode = typecode
        self._values = array(typecode, [0] * (window * channels))  # a ring
        self._at = 0  # where the next value goes
        self._missing = window * channels  # values until the next look
        self._due = None  # the window that is to be looked at, a list
        self._looking = False
        self._features = features
        self._label = label
        self._score = self._scorer(score)
        self.alerts = Alerts(gw, self, description, **alerts)

    def _scorer(self, score):
        if score is None:
            score = "label" if self._label is not None else None if self.model else Deviation()
        if score == "label":
            if not self.model or self._label not in self.model.labels:
                raise ConfigError("stream %s: no label %s" % (self.name, self._label))
        elif score == "reconstruction":
            if not self.model:
                raise ConfigError("stream %s: a reconstruction takes a model" % self.name)
        elif isinstance(score, str):
            raise ConfigError("stream %s: score %s is not known" % (self.name, score))
        return score

    # Samples.

    def feed(self, samples):
        """Take samples: a number, or a list or buffer of as many as you like (the channels of one
        sample after each other); bytes are the raw content of an array of the stream's typecode.

        Returns whether a look is due: a gateway that serves does it by itself, other programs call
        look(). Takes no longer than copying; not for interrupt handlers.
        """
        if isinstance(samples, (int, float)):
            samples = (samples,)
        elif isinstance(samples, (bytes, bytearray)):
            samples = array(self._typecode, samples)
        values = self._values
        size = len(values)
        at = self._at
        missing = self._missing
        for value in samples:
            values[at] = value
            at += 1
            if at == size:
                at = 0
            missing -= 1
            if not missing:
                self._at = at
                self._full()
                missing = self.hop * self.channels
        self._at = at
        self._missing = missing
        if self._due is not None and not self._looking and self._gw and self._gw.serving:
            self._looking = True
            self._gw.work(self._look_on())
        return self._due is not None

    def _full(self):
        """The window is full: keep it for a look."""
        self._full_once = True
        if self._due is None:
            self._due = self.newest()
        else:
            self.missed += 1

    _full_once = False

    def newest(self):
        """The newest values (a list), oldest first, the channels of a sample after each other: a
        window of them, or what there is so far."""
        values = self._values
        at = self._at
        if self._full_once:
            return list(values[at:]) + list(values[:at])
        return list(values[:at])

    def watch(self, read, every_ms):
        """Call read(), plain or async, every so many milliseconds while the gateway serves, and
        feed what it returns. What it raises is logged, once in a row, and it is tried again.

        Returns the asyncio task.
        """
        return self._gw.work(self._sample(read, every_ms))

    async def _sample(self, read, every_ms):
        due = ticks_ms()
        failed = False
        while True:
            try:
                value = read()
                if hasattr(value, "send"):
                    value = await value
                self.feed(value)
                failed = False
            except Exception as e:
                if not failed:
                    self._gw.log_exception(e)
                failed = True
            due = ticks_add(due, every_ms)
            left = ticks_diff(due, ticks_ms())
            if left < -1000:  # the board was busy: do not run after what was missed
                due = ticks_ms()
            await sleep_ms(max(left, 0))

    # Looks.

    async def _look_on(self):
        """Do the looks that are due."""
        try:
            while self._due is not None:
                await self.alook()
        finally:
            self._looking = False

    def look(self):
        """alook() for programs without an event loop."""
        return run_until(self.alook())

    async def alook(self):
        """Look at the window that is due, letting others work every few milliseconds. Returns what
        was found (dict), None if no look was due."""
        values, self._due = self._due, None
        if values is None:
            return None
        found = {"stream": self.name, "uptime_s": self._gw.clock.uptime_s if self._gw else 0}
        if self._features is not None:
            values = await _made(self._features, values)
        if self.model:
            values = await self._modelled(values, found)
        score = self._score
        if score is not None and not isinstance(score, str):
            found["score"] = await _made(score, values)
        self.looks += 1
        found["look"] = self.looks
        self.latest = found
        if "score" in found:
            self.alerts.take(found)
        return found

    async def _modelled(self, values, found):
        """Run the model; returns its output as real values (a list)."""
        model = self.model
        if self._score == "reconstruction":
            found["score"] = await model.arebuild(values)
            return None
        await model.arun(values)
        out = model.scores()
        if model.labels:
            best = max(range(len(out)), key=lambda i: out[i])
            found["label"] = model.labels[best] if best < len(model.labels) else str(best)
            found["label_score"] = out[best]
        if self._score == "label":
            found["score"] = out[model.labels.index(self._label)]
        return out


async def _made(function, values):
    """What a function, plain or async, or a thing with steps() makes of values."""
    steps = getattr(function, "steps", None)
    if steps is None:
        made = function(values)
        return await made if hasattr(made, "send") else made
    return await awaited(steps(values))

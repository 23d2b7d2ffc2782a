"""What can be said of a window of numbers without a model. Each is a generator that pauses now
and then and returns its answer, so that others can work meanwhile; run() goes through one at
once."""

import math

from ..compat import sleep_ms

_PAUSE = 31  # after so many values: 2**n - 1


def run(steps):
    """What a generator returns."""
    while True:
        try:
            next(steps)
        except StopIteration as e:
            return e.value


def summary(values):
    """Dict of count, mean, std (of the population), min, max, rms, slope (per sample, least
    squares) and outlier (see outlier()) of numbers, at least 1."""
    n = len(values)
    low = high = values[0]
    # About the first value: a sensor's offset is large beside what it measures.
    base = values[0]
    total = squares = moment = 0.0
    for i in range(n):
        value = values[i]
        if value < low:
            low = value
        elif value > high:
            high = value
        value -= base
        total += value
        squares += value * value
        moment += value * i
        if not i & _PAUSE:
            yield
    mean = total / n
    variance = max(squares / n - mean * mean, 0.0)
    spread = n * (n * n - 1) / 12
    slope = (moment - mean * n * (n - 1) / 2) / spread if n > 1 else 0.0
    mean += base
    score, at = yield from outlier(values)
    return {
        "count": n,
        "mean": mean,
        "std": math.sqrt(variance),
        "min": low,
        "max": high,
        "rms": math.sqrt(variance + mean * mean),
        "slope": slope,
        "outlier": score,
        "outlier_at": at,
    }


def outlier(values):
    """(score, index) of the value farthest from the others: Iglewicz and Hoaglin's modified
    z-score, 0.6745 |x - median| / MAD; above 3.5 they call it an outlier. Where more than half of
    the values are equal, their mean absolute deviation takes MAD's place: |x - median| / (1.2533
    mean)."""
    n = len(values)
    middle = _median(sorted(values))
    yield
    far = []
    total = 0.0
    at = 0
    for i in range(n):
        distance = abs(values[i] - middle)
        far.append(distance)
        total += distance
        if distance > far[at]:
            at = i
        if not i & _PAUSE:
            yield
    top = far[at]
    far.sort()
    mad = _median(far)
    if mad:
        return 0.6745 * top / mad, at
    return (top / (1.2533 * total / n) if total else 0.0), at


def _median(ordered):
    n = len(ordered)
    return (ordered[n // 2] + ordered[(n - 1) // 2]) / 2


class Deviation:
    """Anomaly score without a model: how many standard deviations a window's level lies from what
    it usually is.

    The level is the standard deviation of the window's values about their mean (vibration, noise)
    or, with of="mean", their mean. Mean and variance of the level are learnt from the first
    `learn` windows, which score 0, and go on following it slowly while nothing is unusual (score
    below 3): by the `keep`th part with each window.
    """

    def __init__(self, of="std", learn=8, keep=64):
        if of not in ("std", "mean"):
            raise ValueError("a deviation is of std or of mean")
        self._of = of
        self._learn = max(2, learn)
        self._keep = keep
        self._seen = 0
        self._mean = self._var = 0.0

    def __call__(self, values):
        """The score of a window, a list of numbers."""
        return run(self.steps(values))

    def steps(self, values):
        n = len(values)
        base = values[0]
        total = squares = 0.0
        for i in range(n):
            value = values[i] - base
            total += value
            squares += value * value
            if not i & _PAUSE:
                yield
        mean = total / n
        level = mean + base
        if self._of == "std":
            level = math.sqrt(max(squares / n - mean * mean, 0.0))
        far = level - self._mean
        score = 0.0
        if self._seen >= self._learn:
            # A sensor that never moved while it was learnt must not make all that follows
            # infinite.
            std = max(math.sqrt(self._var), 1e-6 * abs(self._mean), 1e-9)
            score = abs(far) / std
            if score >= 3:
                return score
        self._seen += 1
        part = 1 / min(self._seen, self._keep)
        self._mean += far * part
        self._var += (far * far * (1 - part) - self._var) * part
        return score


async def awaited(steps):
    """What a generator returns, others being served between its steps."""
    while True:
        try:
            next(steps)
        except StopIteration as e:
            return e.value
        await sleep_ms(0)

"""Models of one gateway by name, and the RAM that their arenas share."""

import gc

from .model import ModelError


class Store:
    """Models are loaded in place and cost little; what costs is the arena that each computes in.
    The store lends arenas, `cap` bytes at most at a time: a model that runs and finds no room
    takes it from those that have not run for the longest time.
    """

    def __init__(self, cap):
        self.cap = cap
        self.evicted = 0  # how often an arena was taken away
        self._models = {}
        self._recent = []  # models that have an arena, the one used last at the end

    def __iter__(self):
        return iter(sorted(self._models))

    def __contains__(self, name):
        return name in self._models

    def __len__(self):
        return len(self._models)

    def add(self, name, model):
        """model: a Model, or what has its arena_bytes, loaded, busy, load() and unload(), made
        with this store."""
        if name in self._models:
            raise ModelError("model %s is there already" % name)
        if model.arena_bytes > self.cap:
            told = name, model.arena_bytes, self.cap
            raise ModelError("model %s takes %d bytes of RAM; the setting model_ram is %d" % told)
        self._models[name] = model

    def get(self, name):
        """The model of this name. Raises ModelError where there is none."""
        model = self._models.get(name)
        if model is None:
            raise ModelError("there is no model %s; there are: %s" % (name, ", ".join(self)))
        return model

    def remove(self, name):
        """Forget a model; raises ModelError while it runs."""
        self.get(name).close()
        del self._models[name]

    @property
    def used(self):
        """Bytes of RAM lent at the moment."""
        return sum(model.arena_bytes for model in self._recent)

    def claim(self, model):
        """Called by a model that is about to run: make room for its arena."""
        recent = self._recent
        if model in recent:
            recent.remove(model)
            recent.append(model)
            return
        room = self.cap - self.used
        gone = []
        for other in recent:
            if room >= model.arena_bytes:
                break
            if not other.busy:
                gone.append(other)
                room += other.arena_bytes
        if room < model.arena_bytes:
            told = model.name, model.arena_bytes, self.used, self.cap
            why = "model %s needs %d bytes of RAM, and models that run hold %d of %d"
            raise ModelError(why % told)
        for other in gone:
            other.unload()
            self.evicted += 1
        if gone:
            gc.collect()
        recent.append(model)

    def returned(self, model):
        """Called by a model that has no arena any more."""
        if model in self._recent:
            self._recent.remove(model)

    def memory_stats(self):
        """Dict: cap, used (bytes of arenas), evicted, and models: name -> dict of file (bytes),
        arena (bytes), loaded, runs."""
        rows = {}
        for name in self:
            model = self._models[name]
            rows[name] = {
                "file": model.size,
                "arena": model.arena_bytes,
                "loaded": model.loaded,
                "runs": model.runs,
            }
        return {"cap": self.cap, "used": self.used, "evicted": self.evicted, "models": rows}

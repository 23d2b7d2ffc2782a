"""The tools that a gateway offers by itself once it has a model or a stream."""

from ..errors import ToolError
from ..params import Param
from .statistics import awaited, summary

_MAX_INPUT = 4096  # values in one argument
_MAX_WINDOW = 1024  # values to be sorted, which takes an RP2040 20 ms
_PAUSE = 31


class Numbers(Param):
    """A list of numbers, nested as one likes. What is in it is checked while it is used, a bit at
    a time: hundreds of numbers at once would keep everybody waiting."""

    def __init__(self, description, most):
        super().__init__(list, description, max=most, optional=True)

    def schema(self):
        out = super().schema()
        out["items"] = {"type": ["number", "array"]}
        return out


def renew(gw):
    """Offer what there is to be offered now. Tools of the user's own are left alone."""
    classifiers = []
    rebuilders = []
    for name in gw.models or ():
        model = gw.models.get(name)
        if getattr(model, "labels", ()):
            classifiers.append(name)
        elif getattr(model, "rebuilds", False):
            rebuilders.append(name)
    streams = sorted(gw.streams or ())
    offer(gw, "classify", _classify(gw, classifiers) if classifiers else None)
    wanted = streams or rebuilders
    offer(gw, "analyze", _analyze(gw, streams, rebuilders) if wanted else None)


def offer(gw, name, tool):
    """Put a built-in tool in place of the one before; tool: None or (function, keywords of
    Gateway.tool)."""
    if gw.built_in is None:
        gw.built_in = []
    ours = gw.built_in
    there = name in gw.registry.tools
    if (name in ours) != there:
        return  # the user's own, or one of ours that was taken away
    if there:
        gw.remove_tool(name)
        ours.remove(name)
    if tool is not None:
        func, keywords = tool
        gw.tool(name=name, **keywords)(func)
        ours.append(name)


def which(names, what):
    """The Param that chooses among names; the only one is the default."""
    if len(names) == 1:
        return Param(str, what, enum=names, default=names[0])
    return Param(str, what, enum=names)


def _classify(gw, names):
    async def classify(model, input, data, top):
        found = gw.models.get(model)
        if (input is None) == (data is None):
            raise ToolError("give either input or data")
        if data is not None:
            input = _decoded(data)
        try:
            ranked = await found.aclassify(input, top=top)
        except (TypeError, ValueError) as e:
            raise ToolError(str(e)) from None
        rows = [{"label": label, "score": _short(score)} for label, score in ranked]
        return {"model": model, "label": rows[0]["label"], "score": rows[0]["score"], "top": rows}

    return classify, {
        "description": "Classify an input by a model on this board",
        "model": which(names, "the model"),
        "input": Numbers("the model's input values, in order", _MAX_INPUT),
        "data": Param(str, "the input as raw int8 values in base64, instead", optional=True),
        "top": Param(int, "how many labels to tell, best first", default=3, min=1, max=100),
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    }


def _analyze(gw, streams, models):
    keywords = {
        "description": "Statistics and an anomaly score of a window of sensor values",
        "values": Numbers("the values to analyze", _MAX_WINDOW),
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    }
    if streams:
        keywords["stream"] = Param(
            str, "a sensor of this board: its newest values", enum=streams, optional=True
        )
    if models:
        keywords["model"] = Param(
            str,
            "a model that rebuilds its input: how far it is off is the anomaly score",
            enum=models,
            optional=True,
        )

    async def analyze(values=None, stream=None, model=None):
        if (values is None) == (stream is None):
            raise ToolError("give either values or stream")
        out = {}
        latest = None
        if stream is not None:
            out["stream"] = stream
            source = gw.streams[stream]
            values = source.newest()
            latest = source.latest
        if not values:
            raise ToolError("there are no values yet")
        try:
            out.update(await awaited(_checked(values)))
            if model is not None:
                out["anomaly"] = _short(await gw.models.get(model).arebuild(values))
        except (TypeError, ValueError) as e:
            raise ToolError(str(e)) from None
        for key in ("mean", "std", "rms", "slope", "outlier"):
            out[key] = _short(out[key])
        if latest:
            out["latest"] = latest
            if model is None and "score" in latest:
                out["anomaly"] = latest["score"]
        if "anomaly" not in out:
            out["anomaly"] = out["outlier"]
        return out

    return analyze, keywords


def _checked(values):
    """Generator: the summary of what a client gave."""
    from .values import flat

    plain = []
    for value in flat(values):
        if value - value != 0:
            raise ValueError("a value that is no finite number")
        plain.append(value)
        if not len(plain) & _PAUSE:
            yield
    if not plain:
        raise ValueError("there are no values")
    return (yield from summary(plain))


def _decoded(data):
    from binascii import a2b_base64

    try:
        return a2b_base64(data)
    except ValueError:
        raise ToolError("data is not base64") from None


def _short(value):
    """A float as people write it."""
    return float("%.6g" % value)

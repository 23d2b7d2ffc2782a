"""Trees and neighbours on the emulated Pico: one prediction from floats to a class, called from
Python, and what `mcpgw convert` expects of it."""

import numpy as np
import targets
from figures import below
from mcpgw.convert import report, sources
from mcpgw.convert.sklearn import from_estimator
from mcpgw.sim import PicoSim
from romfs import flash_with
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier

SAMPLES = 10
SCRIPT = """
import _qnn, time
from array import array
x = array('f', open('/rom/x', 'rb').read())
rows = [x[i * 64:i * 64 + 64] for i in range(%d)]
for name, kind in %r:
    model = getattr(_qnn, kind)(memoryview(open('/rom/' + name, 'rb')))
    began = time.ticks_us()
    for row in rows:
        model.predict(row)
    print(time.ticks_diff(time.ticks_us(), began) / len(rows))
"""


def rows(folder):
    """All rows."""
    x, y = load_digits(return_X_y=True)
    forest = RandomForestClassifier(50, max_depth=10, random_state=1).fit(x, y)
    few = RandomForestClassifier(10, random_state=1).fit(x, y)
    near = KNeighborsClassifier(5).fit(x[:800], y[:800])
    # emlearn-micropython: 1.4 ms for a forest over digits, its figure for a native module.
    cases = (
        ("digits, forest of 10 trees (emlearn 1.4 ms)", "Trees", few, None, 0.3),
        ("digits, forest of 50 trees", "Trees", forest, None, 0.6),
        ("digits, 5 nearest of 800 int8", "Neighbours", near, 1, 8),
        ("digits, 5 nearest of 800 int16", "Neighbours", near, 2, 16),
    )
    files = {"x": x[900 : 900 + SAMPLES].astype(np.float32).tobytes()}
    models, order = [], []
    for i, (_, kind, estimator, width, _) in enumerate(cases):
        model = from_estimator(estimator, width=width)
        models.append(model)
        order.append((f"{i}.mgm", kind))
        files[f"{i}.mgm"] = model.pack()
    flash = flash_with(folder / "flash.img", files)
    with PicoSim(targets.firmware("pico"), flash=flash) as sim:
        out = targets.run(sim, SCRIPT % (SAMPLES, order))
    board = report.BOARDS["rp2040"]
    for case, model, name, took in zip(cases, models, order, out.split(), strict=True):
        converted = sources.Converted("sklearn", None, files[name[0]], None, model)
        expected = report.cycles(board, converted) / board.mhz
        shown = f"{float(took):,.0f} us ({expected:,.0f} us expected at most)"
        yield below(case[0], float(took) / 1000, case[4], shown, "ms")

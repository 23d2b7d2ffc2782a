"""_qnn.Graph on every target: arguments, memory and what is refused."""

import sys

import numpy as np
import targets
from mcpgw.convert import tflite
from mcpgw.convert.build import build

sys.path.insert(0, str(targets.ROOT / "tests" / "host"))
from graph_oracle import Reference  # noqa: E402
from tflite_maker import Maker  # noqa: E402

SCRIPT = """
import _qnn, gc
from array import array

FILE = memoryview(bytearray(%(file)r))
X, Y = %(x)r, %(y)r

def refused(function, *args):
    try:
        function(*args)
    except (ValueError, TypeError) as e:
        print(type(e).__name__, e)
    else:
        print('taken', args)

kind, size, arena, macs, meta, meta_len = _qnn.info(FILE)
print(kind, size == len(FILE), macs, b'"name":"tiny"' in bytes(FILE[meta:meta + meta_len]))
_qnn.check(FILE)

# What is refused.
refused(_qnn.check, b'MGM')
refused(_qnn.check, b'not a model, and longer than a header' * 4)
refused(_qnn.check, FILE[:size - 1])
refused(_qnn.Graph, FILE, bytearray(arena - 1))
refused(_qnn.Graph, FILE, memoryview(bytearray(arena + 1))[1:])
refused(_qnn.Graph, FILE, array('i', bytes(arena)))
refused(_qnn.Graph, FILE, bytes(arena))
refused(_qnn.Graph, FILE[4:], bytearray(arena))

g = _qnn.Graph(FILE, memoryview(bytearray(arena + 16))[8:])
print(g.counts(), g.shape()[0], g.shape()[3], g.shape(1)[0])
print(g.shape(0, True)[0], g.shape(0, True)[3])
refused(g.input, 2)
refused(g.output, 1)
refused(g.input, -1)
refused(g.shape, 0.5)
refused(g.step, -1)
print(g.step(100))  # nothing was begun

def set_inputs():
    for i, x in enumerate(X):
        g.input(i)[:] = array('b', x)

def run():
    set_inputs()
    g.begin()
    steps = 1
    while g.step(1):
        steps += 1
    return steps

print(run() > 10, list(g.output()) == Y, g.step(1))
set_inputs()
g.run()
print(list(g.output()) == Y)

# A view keeps the arena, also when the graph is gone.
y = g.output()
g = None
for _ in range(50):
    gc.collect()
    bytearray(arena)
print(list(y) == Y)

# Buffers that move are seen.
grows = bytearray(FILE)
g = _qnn.Graph(grows, bytearray(arena))
blocker = [bytearray(len(FILE)) for _ in range(4)]
grows.extend(bytes(4 * len(FILE)))
try:
    g.run()
    print('in place')
except ValueError as e:
    print(e)
lent = bytearray(arena)
g = _qnn.Graph(FILE, lent)
more = bytearray(arena)
lent.extend(bytes(4 * arena))
print(run() > 10, list(g.output()) == Y)
"""

ANSWERS = """\
1 True {macs} True
ValueError file is cut short at offset 3
ValueError not a model (.mgm) at offset 0
ValueError file is cut short at offset 8
ValueError arena too small
ValueError arena not aligned to 8
ValueError arena is not of bytes
TypeError object with buffer protocol required
ValueError not a model (.mgm) at offset 0
(2, 1) b (1, 6, 6, 4) b
b (1, 3)
ValueError no such input or output
ValueError no such input or output
ValueError no such input or output
TypeError can't convert float to int
ValueError budget
False
True True False
True
True
"""


def test_graph(target):
    maker = Maker(11)
    a, b = maker.input((1, 6, 6, 4)), maker.input((1, 6, 6, 4))
    y = maker.conv(maker.binary("ADD", a, b), 4, (3, 3))
    y = maker.fully_connected(maker.mean(y, [1, 2], True, scale=y.scale / 8), 3)
    file = maker.finish([a, b], [y])
    rng = np.random.default_rng(5)
    inputs = [rng.integers(-128, 128, t.shape).astype(np.int8) for t in (a, b)]
    (expected,) = Reference(file).run(*inputs)
    made = build(tflite.read(file, "tiny"))
    values = {
        "file": made,
        "x": [x.tobytes() for x in inputs],
        "y": expected.reshape(-1).tolist(),
    }
    lines = target.run(SCRIPT % values).splitlines()
    macs = int.from_bytes(made[44:48], "little")
    assert lines[:-2] == ANSWERS.format(macs=macs).splitlines()
    assert lines[-2] in ("model has moved", "in place")
    assert lines[-1] == "True True"

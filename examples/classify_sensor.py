# A model as a tool. It is made by
#     python tools/train_models.py iris-forest
# and put on the board, where it runs in place, together with this app:
#     mcpgw deploy examples/classify_sensor.py --rom build/models/iris-forest.mgm
# On Linux:
#     build/unix/micropython examples/classify_sensor.py build/models/iris-forest.mgm

import sys

from mcp_gw import Gateway

gw = Gateway("flowers", version="1.0")
# From now on there is a tool `classify`, which takes the measures of any flower.
iris = gw.model("iris", sys.argv[1] if len(sys.argv) > 1 else "/rom/iris-forest.mgm")


def measure():
    # Read your sensors here: length and width of sepal and petal, cm.
    return [5.1, 3.5, 1.4, 0.2]


@gw.tool("Measure the flower in front of the sensors and say which iris it is")
async def identify():
    label, share = (await iris.aclassify(measure(), top=1))[0]
    return {"flower": label, "certainty": share}


@gw.resource("board://models", "The models and the memory they take")
def models():
    return gw.models.memory_stats()


gw.run()

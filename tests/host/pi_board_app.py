"""A board for the paired gateway's tests, on the unix build.

usage: pi_board_app.py URL TOKEN QUEUE PORT
What its clients call of the paired gateway's server office may wait in the queue file QUEUE.
"""

import sys

from mcp_gw import Gateway, Param
from mcp_gw.queue.nor_kept import FileNor

url, token, queue, port = sys.argv[1:]
gw = Gateway("greenhouse", version="1.0", call_timeout_ms=20000)


@gw.tool("Soil moisture", plot=Param(int, "plot", min=0, max=7))
def moisture(plot):
    return 40 + plot


gw.queue(FileNor(queue, 16))
gw.upstream(
    "pi",
    url=url,
    headers={"Authorization": "Bearer " + token},
    queueable=("office_mark", "office_add"),
)
gw.run("http", port=int(port))

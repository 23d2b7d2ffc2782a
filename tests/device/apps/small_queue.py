# A Pico that forwards, with a queue of five sectors in its queue region: soon full, so that
# records are reclaimed and sectors erased again and again.

import board_flash

from mcp_gw import Gateway
from mcp_gw.queue.nor import Rp2Nor

gw = Gateway("small-queue", version="1.0")
gw.queue(Rp2Nor(board_flash.QUEUE_START, 5 * 4096))
gw.upstream("office", queueable=("log_reading",), expiry_s=3600)
gw.run()

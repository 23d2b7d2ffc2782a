"""The other end of a board's serial line, in memory. Runs on CPython and on MicroPython."""

from mcp_gw.transports.link import encode


class SerialLine:
    """To a gateway it is the stream of a port; to_board, from_board: bytes under way."""

    def __init__(self):
        self.stream = self
        self.to_board = bytearray()
        self.from_board = bytearray()

    def read(self, buf, start, end):
        n = min(end - start, len(self.to_board))
        buf[start : start + n] = self.to_board[:n]
        self.to_board = self.to_board[n:]
        return n

    def write(self, buf, start, end):
        self.from_board.extend(memoryview(buf)[start:end])
        return end - start

    def frame(self, channel, *parts):
        """Put one frame on its way to the board."""
        for part in encode(channel, list(parts)):
            self.to_board.extend(part)

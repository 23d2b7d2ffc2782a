"""The serial protocol of an Espressif chip's loader, played on a pty against the real esptool.

What esptool writes ends up in `flash`, so a test can look at every byte. Protocol: ESP-IDF's
"Serial Protocol" page: SLIP frames; request 0x00, command, size u16, checksum u32, data; response
0x01, command, size u16, value u32, data and status.
"""

import hashlib
import os
import struct
import threading
import tty
import zlib

_SYNC, _READ_REG, _SECURITY_INFO, _MD5 = 0x08, 0x0A, 0x14, 0x13
_MEM_END, _ERASE_FLASH = 0x06, 0xD0
_DEFL_BEGIN, _DEFL_DATA = 0x10, 0x11
# Where esptool reads the answer to a command that it sends to the flash chip over SPI.
_SPI_W0 = 0x60002058
ESP32S3, ESP32C3 = 9, 5


class EspLoader:
    """A chip in its loader; a context manager. `port` is the pty to give to esptool.

    chip_id: as in an image's header; flash_mb: size of the flash, a power of two; corrupt: spoil
    what is written.
    """

    def __init__(self, chip_id=ESP32S3, flash_mb=8, corrupt=False):
        self.flash = bytearray(b"\xff" * (flash_mb << 20))
        self.erased = False
        self.writes = 0
        self._chip_id = chip_id
        self._flash_id = 0x40EF | ((19 + flash_mb.bit_length()) << 16)
        self._corrupt = corrupt
        self._stub = False
        self._inflate = None
        self._at = 0

    def __enter__(self):
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.port = os.ttyname(slave)
        self._slave = slave
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        # A last byte wakes the thread; closing the pty alone would not.
        self._master, master = None, self._master
        os.write(self._slave, b"\xc0")
        self._thread.join(5)
        os.close(master)
        os.close(self._slave)

    def _serve(self):
        frame = bytearray()
        while self._master is not None:
            for byte in os.read(self._master, 65536):
                if byte != 0xC0:
                    frame.append(byte)
                elif frame:
                    request = (
                        bytes(frame).replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")
                    )
                    frame.clear()
                    self._handle(request)

    def _handle(self, request):
        if len(request) < 8 or request[0] != 0:
            return
        command, data = request[1], request[8:]
        value, answer = 0, b""
        if command == _SYNC:
            for _ in range(8):
                self._answer(command, 0x20120707, b"")
            return
        if command == _READ_REG:
            register = struct.unpack("<I", data)[0]
            value = self._flash_id if register == _SPI_W0 else 0
        elif command == _SECURITY_INFO:
            answer = struct.pack("<IB7sII", 0, 0, bytes(7), self._chip_id, 0)
        elif command == _ERASE_FLASH:
            self.flash[:] = b"\xff" * len(self.flash)
            self.erased = True
        elif command == _DEFL_BEGIN:
            self._inflate, self._at = zlib.decompressobj(), struct.unpack_from("<4I", data)[3]
        elif command == _DEFL_DATA:
            self._write(self._inflate.decompress(data[16:]))
        elif command == _MD5:
            start, size = struct.unpack_from("<II", data)
            answer = hashlib.md5(self.flash[start : start + size]).digest()
        self._answer(command, value, answer)
        if command == _MEM_END:
            self._stub = True
            self._send(b"OHAI")

    def _write(self, plain):
        if self._corrupt and plain:
            plain = bytes([plain[0] & 0x7F ^ 1]) + plain[1:]
        self.flash[self._at : self._at + len(plain)] = plain
        self._at += len(plain)
        self.writes += 1

    def _answer(self, command, value, data):
        status = bytes(2 if self._stub else 4)
        self._send(struct.pack("<BBHI", 1, command, len(data + status), value) + data + status)

    def _send(self, packet):
        escaped = packet.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
        if self._master is not None:
            os.write(self._master, b"\xc0" + escaped + b"\xc0")

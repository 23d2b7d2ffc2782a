"""A file as a buffer: in place where the file system allows that."""

import os

from ..compat import MICROPYTHON


def in_place(path):
    """(memoryview of a file's bytes, whether they lie where the file lies rather than in RAM).

    In place: on a ROM file system, and under CPython, where the file is mapped. Raises OSError,
    MemoryError.
    """
    with open(path, "rb") as file:
        if not MICROPYTHON:
            import mmap

            if os.fstat(file.fileno()).st_size:
                return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)), True
            return memoryview(b""), True
        try:
            return memoryview(file), True
        except TypeError:
            data = bytearray(os.stat(path)[6])
            if file.readinto(data) != len(data):
                raise OSError("%s cannot be read" % path)
            return memoryview(data), False

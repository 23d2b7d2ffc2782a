"""Images of the ROM file system: MicroPython reads back what was put in, in place and aligned."""

import random

import pytest
import soak
from mcpgw import UserError, romfs

# Prints every path with where its bytes begin in the image, and how many there are.
READ = """
import vfs, os, uctypes
with open(IMAGE, 'rb') as f:
    image = f.read()
vfs.mount(vfs.VfsRom(image), '/rom')
def walk(folder):
    for name, kind, *_ in os.ilistdir(folder):
        path = folder + '/' + name
        if kind == 0x4000:
            walk(path)
        else:
            with open(path, 'rb') as f:
                view = memoryview(f)
                print(uctypes.addressof(view) - uctypes.addressof(image), len(view), path[5:])
walk('/rom')
"""


def read_back(unix, folder, image):
    """{path: bytes} as MicroPython sees the image, and the offsets of the files' bytes."""
    file = folder / "rom.img"
    file.write_bytes(image)
    files, offsets = {}, []
    for line in unix.run(f"IMAGE = {str(file)!r}\n{READ}").splitlines():
        at, size, path = line.split(" ", 2)
        files[path] = image[int(at) : int(at) + int(size)]
        offsets.append(int(at))
    return files, offsets


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"x": b""},
        {"a.mgm": bytes(range(256)) * 9, "b": b"1", "c": b"22", "déjà.txt": b"333"},
        {"models/kws.mgm": b"k" * 70000, "models/more/ad.mgm": b"a" * 3, "models.txt": b""},
    ],
)
def test_micropython_reads_it(unix, tmp_path, files):
    image = romfs.build(files)
    assert romfs.image_size(image[:16]) == len(image)
    found, offsets = read_back(unix, tmp_path, image)
    assert found == files
    assert all(at % romfs.ALIGNMENT == 0 for at in offsets), offsets


def test_any_sizes_come_back_aligned(unix, tmp_path, seed):
    rng = random.Random(seed)
    for _ in range(soak.count(3, 100)):
        files = {}
        for n in range(rng.randrange(1, 60)):
            folder = rng.choice(("", "f/", "f/g/", "h" * rng.randrange(1, 140) + "/"))
            files[f"{folder}{n:03}"] = rng.randbytes(rng.choice((0, 1, 15, 16, 126, 16384, 999)))
        found, offsets = read_back(unix, tmp_path, romfs.build(files))
        assert found == files
        assert all(at % romfs.ALIGNMENT == 0 for at in offsets), offsets


@pytest.mark.parametrize("path", ["", "/x", "a//b", "../x", "a/.", "a/", "a\0b"])
def test_a_path_that_no_board_could_open_is_refused(path):
    with pytest.raises(UserError, match="path"):
        romfs.build({path: b""})


def test_a_file_and_a_folder_of_one_name_are_refused():
    for files in ({"a": b"", "a/b": b""}, {"a/b/c": b"", "a/b": b""}):
        with pytest.raises(UserError, match="as well"):
            romfs.build(files)


def test_what_is_no_image_has_no_size():
    assert romfs.image_size(b"\xff" * 16) is None
    assert romfs.image_size(b"") is None
    assert romfs.image_size(romfs.MAGIC + b"\x80" * 13) is None

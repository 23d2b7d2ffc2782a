# Runs before anything else.  MicroPython's own _boot.py formats the whole storage region when
# mounting fails; here that would take the queue with it.  What else can be done then is in
# board_flash, which takes no RAM while all is well.


def _mount():
    import vfs
    from _flash_map import LFS_LEN
    from _rp2 import Flash

    try:
        vfs.mount(vfs.VfsLfs2(Flash(start=0, len=LFS_LEN), progsize=256), "/")
    except OSError:
        import board_flash

        board_flash.mount()


_mount()
del _mount

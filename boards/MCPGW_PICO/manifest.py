# ruff: noqa: F821 (makemanifest.py provides these functions)
include("../../firmware/rp2/manifest.py")
freeze("$(FLASH_MAP_DIR)", "_flash_map.py")

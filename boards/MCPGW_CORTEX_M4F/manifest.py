# ruff: noqa: F821 (makemanifest.py provides these functions)
include("../../firmware/qemu/manifest.py")

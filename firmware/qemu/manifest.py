# ruff: noqa: F821 (makemanifest.py provides these functions)
include("../manifest.py")
freeze("modules")
freeze("..", "main.py")

# ruff: noqa: F821 (makemanifest.py provides these functions)
include("../manifest.py", network=False)
freeze("modules")
freeze("..", "main.py")

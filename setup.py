"""
Builds the C cores of c_modules into the package, where there is a compiler; pyproject.toml has
the rest.
"""

import sys
from pathlib import Path

from setuptools import Extension, setup

sys.path.insert(0, "tools")
from mcpgw import native  # noqa: E402

files = native.sources(Path())

setup(
    ext_modules=[
        Extension(
            # Not a module that can be imported: tools/mcpgw/native.py loads it with ctypes.
            "mcpgw._cores",
            list(map(str, files)),
            include_dirs=sorted({str(f.parent) for f in files}),
            depends=list(map(str, native.headers(Path()))),
            extra_compile_args=native.FLAGS,
            libraries=native.LIBRARIES,
            optional=True,
        )
    ]
)

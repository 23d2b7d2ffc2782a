"""
Builds the C cores of c_modules into the package, where there is a compiler; pyproject.toml has
the rest.
"""

from pathlib import Path

from setuptools import Extension, setup

modules = Path("c_modules")
files = [
    f for f in modules.glob("*/*.c") if not f.stem.endswith("_mod") and f.parent.name != "mcpscan"
]

setup(
    ext_modules=[
        Extension(
            # Not a module that can be imported: tools/mcpgw/native.py loads it with ctypes.
            "mcpgw._cores",
            sorted(map(str, files)),
            include_dirs=sorted({str(f.parent) for f in files}),
            depends=sorted(map(str, modules.glob("*/*.h"))),
            extra_compile_args=["-std=c99", "-O3", "-fno-strict-aliasing"],
            optional=True,
        )
    ]
)

#!/bin/sh
# Install the Debian (or Ubuntu) packages that building and testing need, and only those whose tools
# are missing: a node or cmake from elsewhere is fine.  Uses sudo unless it runs as root.
set -eu

missing=""
need() { # need PACKAGE COMMAND...: the package, unless the command succeeds
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}
has() { command -v "$1"; }
python_can() { python3 -c "import $1"; }
arm_has() { # a library of the ARM compiler; without it the compiler echoes the bare name
    path=$(arm-none-eabi-gcc -print-file-name="$1") && [ "$path" != "$1" ]
}

need make has make
need gcc has gcc
need g++ has g++
need xz-utils has xz
need bzip2 has bzip2
need cmake has cmake
need ninja-build has ninja
need gcc-arm-none-eabi has arm-none-eabi-gcc
need libnewlib-arm-none-eabi arm_has libc.a
need libstdc++-arm-none-eabi-newlib arm_has libstdc++.a
need qemu-system-arm has qemu-system-arm
need gcc-riscv64-unknown-elf has riscv64-unknown-elf-gcc
need picolibc-riscv64-unknown-elf test -e /usr/lib/picolibc/riscv64-unknown-elf
need python3-venv python_can ensurepip
need nodejs has node
need npm has npm
need wrk has wrk

if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "setup: python3 is $(python3 --version 2>&1); 3.11 or newer is needed" >&2
    exit 1
fi
if [ -z "$missing" ]; then
    exit 0
fi
if ! has apt-get >/dev/null; then
    echo "setup: this system has no apt; install the equivalents of:$missing" >&2
    exit 1
fi

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    as_root=sudo
    has sudo >/dev/null || { echo "setup: run as root: apt-get install$missing" >&2; exit 1; }
fi
echo "setup: installing$missing"
# shellcheck disable=SC2086 # words are wanted
install() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
}
# The package lists may be absent (fresh containers) or too old to fetch by.
install || { $as_root apt-get update -qq && install; }

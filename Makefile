# mcp_gw: `make help` lists the targets.
#
# Variables a user may set:
#   MPY_DIR=          your own MicroPython checkout (1.25 or newer, with submodules) to build from
#   EXTRA_C_MODULES=  folders with C modules of your own, built into every port
#   MCPGW_CACHE=      where downloaded sources are kept (default ~/.cache/mcpgw)

SHELL := /bin/bash
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

export MPY_DIR MCPGW_CACHE
EXTRA_C_MODULES ?=
# More words for pytest, as in  make test PYTEST_ARGS="tests/unit -x"
PYTEST_ARGS ?=

# Firmware carries a build date: that of the commit, so that equal sources give equal images.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || date +%s)
export SOURCE_DATE_EPOCH

B := build
VENV := .venv
PY := $(VENV)/bin/python
NPROC := $(shell nproc 2>/dev/null || echo 2)
# Used inside recipes only: a parallel make hands its job slots down by itself.
JOBS = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(NPROC))
MPY = $(shell sed -n 1p $(B)/sources.path)
PICOTOOL_SRC = $(shell sed -n 2p $(B)/sources.path)

# What goes into every firmware.
FIRMWARE_SRC := $(shell find -L mcp_gw c_modules firmware boards $(EXTRA_C_MODULES) \
	-name __pycache__ -prune -o -type f -print)
MPY_CROSS := $(abspath $(B)/host/mpy-cross/mpy-cross)
C_MODULES := $(abspath $(B)/c_modules)

.DEFAULT_GOAL := help
.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

## ---- set-up

.PHONY: setup
setup: $(B)/setup/sim $(B)/setup/node ## install what is missing: Debian packages, .venv with the host tools, simulator, npm packages
	@true

$(B)/setup/system: tools/system_packages.sh
	@tools/system_packages.sh
	@mkdir -p $(@D) && touch $@

# pyproject.toml pins every package.
$(VENV)/.stamp: pyproject.toml | $(B)/setup/system
	@echo "setup: installing the host tools into $(VENV)"
	@[ -x $(PY) ] || python3 -m venv $(VENV)
	@$(PY) -m pip install -qq --disable-pip-version-check -e '.[sim,convert,pi,test]'
	@touch $@

# The simulator lives in the cache, which may be gone or elsewhere by now.
CACHE := $(or $(MCPGW_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mcpgw)
SIM_MISSING := $(if $(wildcard $(CACHE)/sim-*/bootrom.bin),,FORCE)
$(B)/setup/sim: tools/mcpgw/sim/package.json tools/mcpgw/sim/install.py tools/mcpgw/npm.py $(VENV)/.stamp $(SIM_MISSING)
	@$(VENV)/bin/mcpgw sim setup
	@mkdir -p $(@D) && touch $@

# Node 22, the conformance suites and the clients of tests; in the cache as well.
NODE_MISSING := $(if $(wildcard $(CACHE)/tests-*/package-lock.json),,FORCE)
$(B)/setup/node: tests/node/package-lock.json tests/nodejs.py tools/mcpgw/npm.py $(VENV)/.stamp $(NODE_MISSING)
	@$(PY) tests/nodejs.py
	@mkdir -p $(@D) && touch $@

## ---- sources and host tools

.PHONY: FORCE
FORCE:

.PHONY: sources
sources: $(B)/sources.path ## fetch MicroPython and what it needs (checked, cached outside the tree)
	@cat $<

$(B)/sources.path: FORCE
	@python3 tools/sources.py --write $@

$(B)/c_modules/list: FORCE
	@python3 tools/c_modules.py $(B)/c_modules c_modules $(EXTRA_C_MODULES)

# A checkout of the user's own may change at any time: its own makefiles know what is out of date.
USERS_OWN := $(if $(MPY_DIR),FORCE)

# Changes only when the MicroPython tree or the set of C modules does; then every port starts afresh.
$(B)/config: $(B)/sources.path $(B)/c_modules/list
	@cat $^ > $@

# $(1): a program the recipe cannot do without
needs = @command -v $(1) >/dev/null || { echo "$(1) is not installed: run  make setup"; exit 1; }

# $(1): what the target's folder was made for; the folder is emptied when that has changed.
fresh = @cmp -s $(1) $(@D)/.config || { rm -rf $(@D); mkdir -p $(@D); cp $(1) $(@D)/.config; }

$(MPY_CROSS): $(B)/sources.path $(USERS_OWN)
	$(call needs,gcc)
	$(call fresh,$(B)/sources.path)
	$(MAKE) $(JOBS) -C $(MPY)/mpy-cross BUILD=$(@D) PROG=mpy-cross
	@touch $@

## ---- ports

# $(1): MicroPython's folder of the port.  git must not take a repository around the cache for
# MicroPython's own when it looks for a version.
make_port = GIT_CEILING_DIRECTORIES=$(dir $(MPY)) $(MAKE) $(JOBS) -C $(MPY)/ports/$(1) BUILD=$(abspath $(@D)) USER_C_MODULES=$(C_MODULES) \
	MICROPY_MPYCROSS=$(MPY_CROSS) MICROPY_MPYCROSS_DEPENDENCY=$(MPY_CROSS)

PORT_DEPS := $(B)/config $(MPY_CROSS) $(FIRMWARE_SRC) Makefile $(USERS_OWN)

.PHONY: unix
unix: $(B)/unix/micropython ## the gateway for Linux: build/unix/micropython
# MicroPython's make does not see that the variant has switched a feature.
$(B)/unix.config: $(B)/config firmware/unix/mpconfigvariant.mk
	@cat $^ > $@
$(B)/unix/micropython: $(PORT_DEPS) $(B)/unix.config
	$(call fresh,$(B)/unix.config)
	$(call make_port,unix) VARIANT_DIR=$(abspath firmware/unix)
	@touch $@

# MicroPython's core hands null pointers to memcpy() with a length of 0, and offsets them by 0.
SANITIZE := -fsanitize=address,undefined -fno-sanitize=nonnull-attribute,pointer-overflow \
	-fno-omit-frame-pointer
.PHONY: unix-asan
unix-asan: $(B)/unix-asan/micropython ## the same with address and undefined-behaviour sanitizers
$(B)/unix-asan/micropython: $(PORT_DEPS) $(B)/unix.config
	$(call fresh,$(B)/unix.config)
	$(call make_port,unix) VARIANT_DIR=$(abspath firmware/unix) DEBUG=1 STRIP= \
		CFLAGS_EXTRA="$(SANITIZE)" LDFLAGS_EXTRA="$(SANITIZE)"
	@touch $@

.PHONY: qemu
qemu: $(B)/cortex-m3/firmware.elf $(B)/cortex-m4f/firmware.elf ## firmware for qemu: build/cortex-m3/firmware.elf, build/cortex-m4f/firmware.elf
$(B)/cortex-m3/firmware.elf: QEMU_BOARD := MCPGW_CORTEX_M3
$(B)/cortex-m4f/firmware.elf: QEMU_BOARD := MCPGW_CORTEX_M4F
$(B)/cortex-m3/firmware.elf $(B)/cortex-m4f/firmware.elf: $(PORT_DEPS)
	$(call needs,arm-none-eabi-gcc)
	$(call fresh,$(B)/config)
	$(call make_port,qemu) BOARD=$(QEMU_BOARD) BOARD_DIR=$(abspath boards)/$(QEMU_BOARD)
	@touch $@

.PHONY: pico
pico: $(B)/pico/firmware.uf2 ## the RP2040 firmware: build/pico/firmware.uf2
$(B)/pico/firmware.uf2: $(PORT_DEPS) $(B)/host/picotool.stamp
	$(call needs,arm-none-eabi-gcc)
	$(call fresh,$(B)/config)
	@mkdir -p $(B)/pico
	[ -f $(B)/pico/build.ninja ] || MICROPY_MPYCROSS=$(MPY_CROSS) cmake -G Ninja -Wno-dev \
		-S $(MPY)/ports/rp2 -B $(B)/pico -DPICO_BUILD_DOCS=0 \
		-DMICROPY_BOARD=MCPGW_PICO -DMICROPY_BOARD_DIR=$(abspath boards/MCPGW_PICO) \
		-DUSER_C_MODULES="$(C_MODULES);$(abspath firmware/rp2)" \
		$(if $(PICOTOOL_SRC),-Dpicotool_DIR=$(abspath $(B)/host/picotool/picotool))
	GIT_CEILING_DIRECTORIES=$(dir $(MPY)) MICROPY_MPYCROSS=$(MPY_CROSS) ninja -C $(B)/pico -j$(NPROC)
	@touch $@

# $(1): architecture, $(2): C module. dynruntime.mk has the paths of its objects from the folder it is
# called in.
NATMOD_ARCHS ?= armv6m armv7m armv7emsp rv32imc x64
NATMOD_NAMES := $(patsubst c_modules/%/natmod/Makefile,%,$(wildcard c_modules/*/natmod/Makefile))
define natmod_rule
$(B)/natmod/$(1)/$(2).mpy: $(B)/sources.path Makefile $(wildcard c_modules/$(2)/*.[chS] c_modules/$(2)/natmod/*) | $(VENV)/.stamp
	@rm -rf $$(@D)/$(2) && mkdir -p $$(@D)/$(2)
	$$(MAKE) -C $$(@D)/$(2) -f $$(abspath c_modules/$(2)/natmod/Makefile) MPY_DIR=$$(MPY) ARCH=$(1) BUILD=obj PYTHON=$$(abspath $(PY))
	@mv $$(@D)/$(2)/$(2).mpy $$@
endef
$(foreach arch,$(NATMOD_ARCHS),$(foreach name,$(NATMOD_NAMES),$(eval $(call natmod_rule,$(arch),$(name)))))

.PHONY: natmod
natmod: $(foreach arch,$(NATMOD_ARCHS),$(NATMOD_NAMES:%=$(B)/natmod/$(arch)/%.mpy)) ## the C modules for other firmware: build/natmod/ARCH/NAME.mpy

# With MPY_DIR there may be no picotool source here; pico-sdk then looks for one by itself.
$(B)/host/picotool.stamp: $(B)/sources.path
	$(call needs,cmake)
	@rm -rf $(B)/host/picotool*; mkdir -p $(@D)
	$(if $(PICOTOOL_SRC),cmake -G Ninja -Wno-dev -S $(PICOTOOL_SRC) -B $(B)/host/picotool-build \
		-DPICO_SDK_PATH=$(MPY)/lib/pico-sdk -DPICOTOOL_NO_LIBUSB=1 -DPICOTOOL_FLAT_INSTALL=1 \
		-DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=$(abspath $(B)/host/picotool))
	$(if $(PICOTOOL_SRC),ninja -C $(B)/host/picotool-build -j$(NPROC) install)
	@touch $@

.PHONY: firmware
firmware: unix unix-asan qemu pico ## all of them

.PHONY: size
size: unix qemu pico ## flash and RAM per target, and what each frozen module costs
	@python3 tools/size.py $(B)

## ---- use and test

# The builds come second, by a make of their own: on a fresh machine setup brings their compilers.
.PHONY: demo
demo: setup ## the whole story on an emulated Pico, with a real MCP client and upstream
	@$(MAKE) --no-print-directory unix pico
	@$(PY) tools/demo.py

.PHONY: test
test: setup ## every test
	@$(MAKE) --no-print-directory firmware natmod
	$(PY) -m pytest -v -ra --durations=10 $(PYTEST_ARGS)

.PHONY: conformance
conformance: setup ## the official conformance suites, on the unix build and the emulated Pico
	@$(MAKE) --no-print-directory unix pico
	@$(PY) tests/conformance/run.py

.PHONY: soak
soak: setup ## the same properties at large counts, with new seeds, which it prints
	@$(MAKE) --no-print-directory firmware natmod
	MCPGW_SOAK=1 $(PY) -m pytest -v -ra --durations=10 -o timeout=0 $(PYTEST_ARGS)

.PHONY: bench
bench: setup ## speed, latency, heap and size figures
	@$(MAKE) --no-print-directory unix qemu pico
	$(PY) tests/bench/run.py

LONGEST_FILE := 450
.PHONY: docs
docs: $(VENV)/.stamp ## make docs/protocol.md and the tables of docs/configuration.md from code
	@$(PY) tools/protocol_page.py
	@$(PY) tools/configuration_page.py

.PHONY: lint
lint: $(VENV)/.stamp ## style: ruff, and no file longer than 450 lines
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	@git ls-files -z '*.py' '*.c' '*.h' '*.mjs' '*.sh' '*.mk' '*.cmake' Makefile | xargs -0 wc -l | \
		awk '$$1 > $(LONGEST_FILE) && $$2 != "total" { print "longer than $(LONGEST_FILE) lines: " $$0; bad = 1 } \
			END { exit bad }'

.PHONY: clean
clean: ## remove the built firmware
	rm -rf $(B)/unix $(B)/unix-asan $(B)/cortex-m3 $(B)/cortex-m4f $(B)/pico

.PHONY: distclean
distclean: ## remove everything made here; downloaded sources stay in the cache
	rm -rf $(B) $(VENV)

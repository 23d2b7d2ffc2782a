"""A user's own C module is built into every port. Builds all of them: only in a soak run."""

import subprocess
from pathlib import Path

import pytest
import soak

ROOT = Path(__file__).parents[2]
SOURCE = """
#include "py/runtime.h"

static mp_obj_t users_own_answer(void) {
    return MP_OBJ_NEW_SMALL_INT(42);
}
static MP_DEFINE_CONST_FUN_OBJ_0(users_own_answer_obj, users_own_answer);

static const mp_rom_map_elem_t users_own_globals_table[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_users_own) },
    { MP_ROM_QSTR(MP_QSTR_answer), MP_ROM_PTR(&users_own_answer_obj) },
};
static MP_DEFINE_CONST_DICT(users_own_globals, users_own_globals_table);

const mp_obj_module_t users_own_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&users_own_globals,
};
MP_REGISTER_MODULE(MP_QSTR_users_own, users_own_module);
"""
CMAKE = """
add_library(usermod_users_own INTERFACE)
target_sources(usermod_users_own INTERFACE ${CMAKE_CURRENT_LIST_DIR}/users_own.c)
target_link_libraries(usermod INTERFACE usermod_users_own)
"""


@pytest.mark.skipif(not soak.SOAK, reason="builds every port: make soak")
def test_extra_c_modules_are_in_every_port(tmp_path):
    module = tmp_path / "modules/users_own"
    module.mkdir(parents=True)
    (module / "users_own.c").write_text(SOURCE)
    (module / "micropython.mk").write_text("SRC_USERMOD_C += $(USERMOD_DIR)/users_own.c\n")
    (module / "micropython.cmake").write_text(CMAKE)
    build = tmp_path / "build"
    targets = ["unix", "qemu", "pico"]
    command = ["make", "-C", str(ROOT), f"B={build}", f"EXTRA_C_MODULES={module.parent}"]
    done = subprocess.run([*command, *targets], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    program = [build / "unix/micropython", "-c", "import users_own; print(users_own.answer())"]
    assert subprocess.run(program, capture_output=True, text=True).stdout == "42\n"
    for elf in ("cortex-m3/firmware.elf", "cortex-m4f/firmware.elf", "pico/firmware.elf"):
        names = subprocess.run(
            ["arm-none-eabi-nm", build / elf], capture_output=True, text=True, check=True
        ).stdout
        assert " users_own_module\n" in names, elf

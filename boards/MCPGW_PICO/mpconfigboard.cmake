# Raspberry Pi Pico (RP2040, 2 MB of flash) as an MCP gateway.
set(PICO_BOARD "pico")
set(PICO_PLATFORM "rp2040")

# profile.json is the one place that says how the flash is divided.  From it come the C definitions
# (mpconfigboard.h checks that they fit together), the frozen module _flash_map and the firmware's
# size limit (firmware/rp2/micropython.cmake).
set(MCPGW_PROFILE ${CMAKE_CURRENT_LIST_DIR}/profile.json)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${MCPGW_PROFILE})
file(READ ${MCPGW_PROFILE} _profile)
foreach(_region firmware rom littlefs queue)
    string(TOUPPER ${_region} _upper)
    string(JSON MCPGW_${_upper}_START GET ${_profile} flash regions ${_region} start)
    string(JSON MCPGW_${_upper}_BYTES GET ${_profile} flash regions ${_region} bytes)
    list(APPEND MICROPY_DEF_BOARD
        MCPGW_${_upper}_START=${MCPGW_${_upper}_START}
        MCPGW_${_upper}_BYTES=${MCPGW_${_upper}_BYTES}
    )
endforeach()

# rp2.Flash() begins where littlefs does, so the queue lies right behind littlefs in it.
set(MICROPY_MANIFEST_FLASH_MAP_DIR ${CMAKE_BINARY_DIR}/flash_map)
file(CONFIGURE OUTPUT ${MICROPY_MANIFEST_FLASH_MAP_DIR}/_flash_map.py CONTENT
"# Made from profile.json: offsets and lengths in bytes, relative to rp2.Flash().
LFS_LEN = @MCPGW_LITTLEFS_BYTES@
QUEUE_START = @MCPGW_LITTLEFS_BYTES@
QUEUE_LEN = @MCPGW_QUEUE_BYTES@
" @ONLY)

set(MICROPY_FROZEN_MANIFEST ${CMAKE_CURRENT_LIST_DIR}/manifest.py)

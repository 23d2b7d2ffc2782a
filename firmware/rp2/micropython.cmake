# Not C modules: what else of the link is ours.

# The firmware must end before the ROM file system begins, or an update would overwrite the user's data.
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/firmware_limit.ld CONTENT
"ASSERT(__flash_binary_end - __flash_binary_start <= @MCPGW_FIRMWARE_BYTES@,
    \"firmware larger than its flash region (flash.regions.firmware in the board's profile.json)\")
" @ONLY)
target_link_options(usermod INTERFACE ${CMAKE_BINARY_DIR}/firmware_limit.ld)

# Frames of Python functions have a stack of their own.
target_sources(usermod INTERFACE ${CMAKE_CURRENT_LIST_DIR}/pystack.c)
target_link_options(usermod INTERFACE -Wl,--wrap=gc_collect_start)

# Less memory for the file system.
target_sources(usermod INTERFACE ${CMAKE_CURRENT_LIST_DIR}/littlefs.c)
target_link_options(usermod INTERFACE -Wl,--wrap=lfs2_mount -Wl,--wrap=lfs2_format)

# The port builds for size, except what runs most of the time. To those who wait, a collection is the longest
# thing that happens.
set_source_files_properties(${MICROPY_DIR}/py/gc.c PROPERTIES COMPILE_OPTIONS -O2)

# AES computes three of every four tables while it works, by rotating the fourth: 6 KB.
set_source_files_properties(${MICROPY_DIR}/lib/mbedtls/library/aes.c PROPERTIES COMPILE_DEFINITIONS
    MBEDTLS_AES_FEWER_TABLES)

# What C prints (a panic, a failed assertion) has no floating-point numbers in it.
set_source_files_properties(${PICO_SDK_PATH}/src/rp2_common/pico_printf/printf.c PROPERTIES COMPILE_DEFINITIONS
    "PICO_PRINTF_SUPPORT_FLOAT=0;PICO_PRINTF_SUPPORT_EXPONENTIAL=0")

# SHA-1 in loops.
target_sources(usermod INTERFACE ${CMAKE_CURRENT_LIST_DIR}/sha1.c)
set_source_files_properties(${MICROPY_DIR}/lib/mbedtls/library/sha1.c PROPERTIES COMPILE_DEFINITIONS
    MBEDTLS_SHA1_PROCESS_ALT)

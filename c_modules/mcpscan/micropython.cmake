add_library(usermod_mcpscan INTERFACE)

target_sources(usermod_mcpscan INTERFACE
    ${CMAKE_CURRENT_LIST_DIR}/mcpscan_mod.c
    ${CMAKE_CURRENT_LIST_DIR}/mcpscan_core.c
    ${CMAKE_CURRENT_LIST_DIR}/mcpscan_token.c
    ${CMAKE_CURRENT_LIST_DIR}/mcpscan_console.c
)

target_link_libraries(usermod INTERFACE usermod_mcpscan)

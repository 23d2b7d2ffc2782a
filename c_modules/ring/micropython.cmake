add_library(usermod_ring INTERFACE)

target_sources(usermod_ring INTERFACE
    ${CMAKE_CURRENT_LIST_DIR}/ring_mod.c
    ${CMAKE_CURRENT_LIST_DIR}/ring_core.c
)

target_link_libraries(usermod INTERFACE usermod_ring)

add_library(usermod_bpe INTERFACE)

target_sources(usermod_bpe INTERFACE
    ${CMAKE_CURRENT_LIST_DIR}/bpe_mod.c
    ${CMAKE_CURRENT_LIST_DIR}/bpe_core.c
    ${CMAKE_CURRENT_LIST_DIR}/bpe_merge.c
    ${CMAKE_CURRENT_LIST_DIR}/bpe_open.c
    ${CMAKE_CURRENT_LIST_DIR}/bpe_split.c
    ${CMAKE_CURRENT_LIST_DIR}/bpe_unicode.c
    ${CMAKE_CURRENT_LIST_DIR}/bpe_vocab.c
)

target_link_libraries(usermod INTERFACE usermod_bpe)

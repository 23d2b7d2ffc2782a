add_library(usermod_qnn INTERFACE)

file(GLOB QNN_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/qnn_*.c ${CMAKE_CURRENT_LIST_DIR}/qnn_*.S)
list(FILTER QNN_SOURCES EXCLUDE REGEX "_host\\.c$")

target_sources(usermod_qnn INTERFACE ${QNN_SOURCES})

target_include_directories(usermod_qnn INTERFACE ${CMAKE_CURRENT_LIST_DIR})

target_link_libraries(usermod INTERFACE usermod_qnn)

# The ports build for size; these run for most of the time that a token takes, or do as much for each element
# of an image as a convolution does for several weights.
set_source_files_properties(
    ${CMAKE_CURRENT_LIST_DIR}/qnn_llama_cache.c ${CMAKE_CURRENT_LIST_DIR}/qnn_llama_step.c
    ${CMAKE_CURRENT_LIST_DIR}/qnn_elementwise.c
    PROPERTIES COMPILE_OPTIONS -O2
)

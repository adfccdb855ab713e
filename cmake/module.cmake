# SPDX-License-Identifier: Apache-2.0
# module(NAME DEPS a b LIBRARIES x::y) makes the static library of the folder src/NAME from every
# source in and below it, and NAME_test from every *_test.cc, linked to that module alone, so that
# a test which needs more than DEPS says does not link.
function(module name)
    cmake_parse_arguments(arg "" "" "DEPS;LIBRARIES" ${ARGN})
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
    file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.h)
    set(tests ${sources})
    list(FILTER tests INCLUDE REGEX "_test\\.cc$")
    list(FILTER sources EXCLUDE REGEX "_(test|main)\\.cc$")
    if(NOT sources)
        set(sources ${CMAKE_SOURCE_DIR}/cmake/empty.cc)
    endif()

    add_library(${name} STATIC ${sources})
    target_sources(${name} PUBLIC FILE_SET HEADERS BASE_DIRS ${CMAKE_SOURCE_DIR}/src
                                  FILES ${headers})
    set_target_properties(${name} PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
    target_link_libraries(${name} PUBLIC ${arg_DEPS} PRIVATE ${arg_LIBRARIES} tessera::warnings)

    if(tests AND NOT TESSERA_FUZZ)
        add_executable(${name}_test ${tests})
        set_target_properties(${name}_test PROPERTIES
            RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
        target_link_libraries(${name}_test PRIVATE ${name} ${arg_LIBRARIES} tessera::warnings
                                                   GTest::gmock GTest::gtest_main)
        gtest_discover_tests(${name}_test TEST_PREFIX "${name}." DISCOVERY_TIMEOUT 60
                             # With the compiler cache __FILE__ is relative to the build.
                             WORKING_DIRECTORY ${CMAKE_BINARY_DIR})
    endif()
endfunction()

# program(NAME SOURCE main.cc DEPS a b LIBRARIES x::y CALLED other names) makes bin/NAME, and beside
# it a symbolic link for each other name the binary may be called by.
function(program name)
    cmake_parse_arguments(arg "" "SOURCE" "DEPS;LIBRARIES;CALLED" ${ARGN})
    add_executable(${name} ${arg_SOURCE})
    target_link_libraries(${name} PRIVATE ${arg_DEPS} ${arg_LIBRARIES} tessera::warnings)
    foreach(other ${arg_CALLED})
        add_custom_command(TARGET ${name} POST_BUILD VERBATIM
            COMMAND ${CMAKE_COMMAND} -E create_symlink ${name} $<TARGET_FILE_DIR:${name}>/${other})
    endforeach()
endfunction()

# fuzz_target(NAME DEPS a b CORPUS dir) makes NAME.cc a libFuzzer program bin/NAME where
# TESSERA_FUZZ is on, and elsewhere a test, fuzz.NAME, that replays every file of the corpus once.
function(fuzz_target name)
    cmake_parse_arguments(arg "" "CORPUS" "DEPS;LIBRARIES" ${ARGN})
    if(TESSERA_FUZZ)
        add_executable(${name} ${name}.cc)
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    else()
        add_executable(${name} ${name}.cc ${CMAKE_SOURCE_DIR}/cmake/replay_corpus.cc)
        set_target_properties(${name} PROPERTIES
            RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
        add_test(NAME fuzz.${name} COMMAND ${name} ${arg_CORPUS})
    endif()
    target_link_libraries(${name} PRIVATE ${arg_DEPS} ${arg_LIBRARIES} tessera::warnings)
endfunction()

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

    if(tests)
        add_executable(${name}_test ${tests})
        target_link_libraries(${name}_test PRIVATE ${name} ${arg_LIBRARIES} tessera::warnings
                                                   GTest::gmock GTest::gtest_main)
        gtest_discover_tests(${name}_test TEST_PREFIX "${name}." DISCOVERY_TIMEOUT 60)
    endif()
endfunction()

# SPDX-License-Identifier: Apache-2.0
# Third parties, each named once (docs/decisions and README say why each is there).
find_package(Threads REQUIRED)
find_package(GTest REQUIRED)
find_package(OpenSSL 3 REQUIRED)
find_package(fmt REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(pcre2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(zlib REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(zstd REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(bson_c REQUIRED IMPORTED_TARGET libbson-1.0)
find_package(Snappy REQUIRED)
pkg_check_modules(jemalloc REQUIRED IMPORTED_TARGET jemalloc)
find_package(yaml-cpp REQUIRED)

# Boost.Asio is headers alone; only `net` may see them.
add_library(tessera_asio INTERFACE)
add_library(tessera::asio ALIAS tessera_asio)
find_path(asio_include boost/asio.hpp REQUIRED)
target_include_directories(tessera_asio SYSTEM INTERFACE ${asio_include})
target_compile_definitions(tessera_asio INTERFACE BOOST_ASIO_NO_DEPRECATED)
target_link_libraries(tessera_asio INTERFACE Threads::Threads)

# Intel's decimal floating-point library (libintelrdfpmath-dev): BID encoding, as BSON stores it.
# Variant 000: arguments and results by value, rounding mode and flags as parameters.
find_library(intel_decimal NAMES bidgcc000 REQUIRED)
add_library(tessera_decimal INTERFACE)
add_library(tessera::decimal ALIAS tessera_decimal)
target_link_libraries(tessera_decimal INTERFACE ${intel_decimal})

add_library(tessera_warnings INTERFACE)
add_library(tessera::warnings ALIAS tessera_warnings)
target_compile_options(tessera_warnings INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror)
if(TESSERA_CLANG_COROUTINES)
    # clang 14 does not announce the coroutines libstdc++ 12 asks for.
    target_compile_definitions(tessera_warnings INTERFACE
        __cpp_impl_coroutine=201902L BOOST_ASIO_HAS_CO_AWAIT BOOST_ASIO_HAS_STD_COROUTINE)
    target_compile_options(tessera_warnings INTERFACE
        -Wno-builtin-macro-redefined -Wno-deprecated-experimental-coroutine
        # Not a part of g++'s -Wconversion.
        -Wno-sign-conversion)
endif()

# WiredTiger, built from its source distribution by tools/setup/wiredtiger.sh into the cache.
execute_process(COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/tools/setup/wiredtiger.sh --where
                OUTPUT_VARIABLE wiredtiger_dir OUTPUT_STRIP_TRAILING_WHITESPACE
                COMMAND_ERROR_IS_FATAL ANY)
if(NOT EXISTS ${wiredtiger_dir}/lib/libwiredtiger.a)
    message(FATAL_ERROR "WiredTiger is not built yet (looked in ${wiredtiger_dir}).\n"
                        "Next step: make setup")
endif()
add_library(tessera_wiredtiger STATIC IMPORTED)
add_library(tessera::wiredtiger ALIAS tessera_wiredtiger)
set_target_properties(tessera_wiredtiger PROPERTIES
    IMPORTED_LOCATION ${wiredtiger_dir}/lib/libwiredtiger.a
    INTERFACE_INCLUDE_DIRECTORIES ${wiredtiger_dir}/include
    INTERFACE_LINK_LIBRARIES
        "Snappy::snappy;PkgConfig::zlib;PkgConfig::zstd;Threads::Threads;${CMAKE_DL_LIBS}")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS tools/setup/wiredtiger.sh)

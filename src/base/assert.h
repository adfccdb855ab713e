// SPDX-License-Identifier: Apache-2.0
//
// The three ways code says "this cannot be" (docs/style.md, Errors).
#pragma once

namespace tessera {

[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);
/// Logs a broken invariant of one request; the request then fails with InternalError.
void ensure_failed(const char* expression, const char* file, int line);

}  // namespace tessera

/// A bug that endangers data or agreement: always on, stops the process.
#define ASSERT(expression) \
    ((expression) ? void() : ::tessera::assertion_failed(#expression, __FILE__, __LINE__))

/// As ASSERT, for checks too costly for production: on in debug builds and in the simulator.
#ifdef NDEBUG
#define ASSERT_SLOW(expression) void()
#else
#define ASSERT_SLOW(expression) ASSERT(expression)
#endif

/// A bug inside one request: fails that request with InternalError, the process lives.
/// For functions that return Status or Result<T> (include base/result.h).
#define ENSURE(expression)                                                          \
    do {                                                                            \
        if (!(expression)) {                                                        \
            ::tessera::ensure_failed(#expression, __FILE__, __LINE__);              \
            return ::tessera::Error(::tessera::ErrorCode::internal_error,           \
                                    "broken invariant: " #expression);              \
        }                                                                           \
    } while (false)

// SPDX-License-Identifier: Apache-2.0
//
// Result<T>: a value or an Error; names a subset of std::expected, which g++ 12 has only in C++23
// mode. Status is Result<void>. TRY and TRY_OK pass an error on; CO_TRY and CO_TRY_OK do the same
// inside coroutines.
#pragma once

#include <optional>
#include <utility>
#include <variant>

#include "base/assert.h"
#include "base/error.h"

namespace tessera {

template <class T>
class [[nodiscard]] Result {
public:
    using value_type = T;

    // NOLINTNEXTLINE(google-explicit-constructor)
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    // NOLINTNEXTLINE(google-explicit-constructor)
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    bool has_value() const { return state_.index() == 0; }
    explicit operator bool() const { return has_value(); }

    T& value() & { ASSERT(has_value()); return *std::get_if<0>(&state_); }
    const T& value() const& { ASSERT(has_value()); return *std::get_if<0>(&state_); }
    T&& value() && { ASSERT(has_value()); return std::move(*std::get_if<0>(&state_)); }
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T&& operator*() && { return std::move(*this).value(); }
    T* operator->() { return &value(); }
    const T* operator->() const { return &value(); }

    const Error& error() const& { ASSERT(!has_value()); return *std::get_if<1>(&state_); }
    Error&& error() && { ASSERT(!has_value()); return std::move(*std::get_if<1>(&state_)); }

    template <class U>
    T value_or(U&& other) const& {
        return has_value() ? value() : static_cast<T>(std::forward<U>(other));
    }

private:
    std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
public:
    using value_type = void;

    Result() = default;
    Result(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

    bool has_value() const { return !error_.has_value(); }
    explicit operator bool() const { return has_value(); }

    const Error& error() const& { ASSERT(!has_value()); return *error_; }
    Error&& error() && { ASSERT(!has_value()); return std::move(*error_); }

private:
    std::optional<Error> error_;
};

using Status = Result<void>;

/// The Status of success, where a name reads better than `{}`.
inline Status ok() { return {}; }

}  // namespace tessera

#define TESSERA_CONCAT_(a, b) a##b
#define TESSERA_CONCAT(a, b) TESSERA_CONCAT_(a, b)
#define TESSERA_TRY_(temporary, target, expression, keyword)              \
    auto temporary = (expression);                                        \
    if (!temporary) keyword std::move(temporary).error();                 \
    target = std::move(temporary).value()

/// TRY(auto doc, parse(bytes)); declares or assigns the value, or returns the error.
#define TRY(target, ...) \
    TESSERA_TRY_(TESSERA_CONCAT(try_, __LINE__), target, (__VA_ARGS__), return)
#define CO_TRY(target, ...) \
    TESSERA_TRY_(TESSERA_CONCAT(try_, __LINE__), target, (__VA_ARGS__), co_return)

/// TRY_OK(status); returns the error, if it is one.
#define TRY_OK(...)                                                             \
    do {                                                                        \
        if (auto try_status = (__VA_ARGS__); !try_status)                       \
            return std::move(try_status).error();                               \
    } while (false)
/// CO_TRY_OK must not hold a brace inside its expression (g++ 12, docs/style.md).
#define CO_TRY_OK(...)                                                          \
    do {                                                                        \
        auto try_status = (__VA_ARGS__);                                        \
        if (!try_status) co_return std::move(try_status).error();               \
    } while (false)

// SPDX-License-Identifier: Apache-2.0
//
// The inside of Loop, for this folder's .cc files only: the one place where Asio is included.
#pragma once

#include <boost/asio/io_context.hpp>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "net/limits.h"
#include "net/loop.h"

namespace tessera::net {

namespace asio = boost::asio;

struct Loop::Impl {
    asio::io_context context{1};
    asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
    std::thread thread;

    // Touched on the loop's thread only.
    std::unique_ptr<char[]> receive_buffer;
    std::vector<std::string> spare_buffers;

    /// Filled by one recv and read from before anything else runs.
    char* received() {
        if (!receive_buffer) receive_buffer = std::make_unique<char[]>(receive_bytes);
        return receive_buffer.get();
    }
    std::string take_buffer() {
        if (spare_buffers.empty()) return {};
        std::string buffer = std::move(spare_buffers.back());
        spare_buffers.pop_back();
        return buffer;
    }
    void give_buffer(std::string buffer) {
        if (spare_buffers.size() < spare_buffers_max &&
            buffer.capacity() <= spare_buffer_bytes_max) {
            spare_buffers.push_back(std::move(buffer));
        }
    }
};

}  // namespace tessera::net

// SPDX-License-Identifier: Apache-2.0
#include "wire/compression.h"

#include <snappy.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <memory>

#include "base/assert.h"

namespace tessera::wire {

namespace {

Error broken(std::string_view compressor, std::string_view why) {
    return Error(ErrorCode::bad_value,
                 "compressed message (" + std::string(compressor) + "): " + std::string(why));
}

Status decompress_snappy(std::string_view bytes, std::size_t size, char* out) {
    std::size_t claimed = 0;
    if (!snappy::GetUncompressedLength(bytes.data(), bytes.size(), &claimed) || claimed != size)
        return broken("snappy", "the size does not match the header's");
    if (!snappy::RawUncompress(bytes.data(), bytes.size(), out)) return broken("snappy", "corrupt");
    return {};
}

Status decompress_zlib(std::string_view bytes, std::size_t size, char* out) {
    uLongf produced = size;
    uLong consumed = bytes.size();
    const int outcome = ::uncompress2(reinterpret_cast<Bytef*>(out), &produced,
                                      reinterpret_cast<const Bytef*>(bytes.data()), &consumed);
    if (outcome != Z_OK || produced != size || consumed != bytes.size())
        return broken("zlib", "corrupt, or the size does not match the header's");
    return {};
}

Status decompress_zstd(std::string_view bytes, std::size_t size, char* out) {
    const std::size_t produced = ZSTD_decompress(out, size, bytes.data(), bytes.size());
    if (ZSTD_isError(produced) != 0) return broken("zstd", ZSTD_getErrorName(produced));
    if (produced != size) return broken("zstd", "the size does not match the header's");
    return {};
}

/// Whether the claim is possible at all, asked before memory is taken for it.
bool is_plausible(Compressor compressor, std::string_view bytes, std::size_t size) {
    switch (compressor) {
        case Compressor::noop: return bytes.size() == size;
        case Compressor::snappy: return size <= bytes.size() * 64 + 64;
        case Compressor::zlib: return size <= bytes.size() * 1032 + 64;  // Deflate's best ratio.
        case Compressor::zstd: {
            const auto claimed = ZSTD_getFrameContentSize(bytes.data(), bytes.size());
            return claimed != ZSTD_CONTENTSIZE_ERROR;
        }
    }
    return false;
}

}  // namespace

std::optional<Compressor> compressor_by_name(std::string_view name) {
    if (name == "snappy") return Compressor::snappy;
    if (name == "zlib") return Compressor::zlib;
    if (name == "zstd") return Compressor::zstd;
    return std::nullopt;
}

std::string_view compressor_name(Compressor compressor) {
    switch (compressor) {
        case Compressor::noop: return "noop";
        case Compressor::snappy: return "snappy";
        case Compressor::zlib: return "zlib";
        case Compressor::zstd: return "zstd";
    }
    return "unknown";
}

void compress(Compressor compressor, std::string_view bytes, std::string& out) {
    const std::size_t start = out.size();
    switch (compressor) {
        case Compressor::noop: out.append(bytes); return;
        case Compressor::snappy: {
            std::size_t produced = 0;
            out.resize(start + snappy::MaxCompressedLength(bytes.size()));
            snappy::RawCompress(bytes.data(), bytes.size(), out.data() + start, &produced);
            out.resize(start + produced);
            return;
        }
        case Compressor::zlib: {
            uLongf produced = ::compressBound(bytes.size());
            out.resize(start + produced);
            const int outcome = ::compress2(reinterpret_cast<Bytef*>(out.data() + start), &produced,
                                            reinterpret_cast<const Bytef*>(bytes.data()),
                                            bytes.size(), Z_DEFAULT_COMPRESSION);
            ASSERT(outcome == Z_OK);  // It fails only for lack of memory or of room.
            out.resize(start + produced);
            return;
        }
        case Compressor::zstd: {
            out.resize(start + ZSTD_compressBound(bytes.size()));
            const std::size_t produced = ZSTD_compress(out.data() + start, out.size() - start,
                                                       bytes.data(), bytes.size(), 3);
            ASSERT(ZSTD_isError(produced) == 0);
            out.resize(start + produced);
            return;
        }
    }
}

Status decompress(Compressor compressor,
                  std::string_view bytes,
                  std::size_t size,
                  std::string& out) {
    if (compressor > Compressor::zstd) {
        return Error(ErrorCode::bad_value, "unknown compressor id " +
                                               std::to_string(static_cast<int>(compressor)));
    }
    if (!is_plausible(compressor, bytes, size))
        return broken(compressor_name(compressor), "the size in the header is impossible");
    if (compressor == Compressor::noop) {
        out.append(bytes);
        return {};
    }
    // Zeroed by resize, and used only when it was filled to the last byte (CVE-2025-14847).
    const std::size_t start = out.size();
    out.resize(start + size);
    char* const to = out.data() + start;
    switch (compressor) {
        case Compressor::snappy: return decompress_snappy(bytes, size, to);
        case Compressor::zlib: return decompress_zlib(bytes, size, to);
        default: return decompress_zstd(bytes, size, to);
    }
}

}  // namespace tessera::wire

// SPDX-License-Identifier: Apache-2.0
// The main function of a fuzz target in builds without libFuzzer: runs it once over every file of
// the corpus and over the empty input, so that what a fuzzer once found stays mended.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int argc, char** argv) {
    namespace fs = std::filesystem;
    std::size_t files = 0;
    const std::uint8_t nothing = 0;
    LLVMFuzzerTestOneInput(&nothing, 0);
    for (int i = 1; i < argc; ++i) {
        if (!fs::is_directory(argv[i])) continue;
        for (const auto& entry : fs::recursive_directory_iterator(argv[i])) {
            if (!entry.is_regular_file()) continue;
            std::ifstream input(entry.path(), std::ios::binary);
            const std::vector<char> bytes{std::istreambuf_iterator<char>(input), {}};
            const std::vector<std::uint8_t> data(bytes.begin(), bytes.end());
            std::printf("%s\n", entry.path().c_str());
            std::fflush(stdout);
            LLVMFuzzerTestOneInput(data.data(), data.size());
            ++files;
        }
    }
    std::printf("%zu files\n", files);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
#include "commands/document_list.h"

namespace tessera::commands {
namespace {

class ListSource : public CursorSource {
public:
    explicit ListSource(std::vector<bson::Document> documents) : documents_(std::move(documents)) {}

    async::Task<Result<bool>> fill(BatchWriter& batch, Operation&) override {
        while (next_ < documents_.size() && batch.has_room(documents_[next_].size()))
            batch.append(documents_[next_++]);
        co_return next_ == documents_.size();
    }

private:
    std::vector<bson::Document> documents_;
    std::size_t next_ = 0;
};

}  // namespace

std::unique_ptr<CursorSource> make_list_source(std::vector<bson::Document> documents) {
    return std::make_unique<ListSource>(std::move(documents));
}

}  // namespace tessera::commands

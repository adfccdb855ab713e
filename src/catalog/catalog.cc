// SPDX-License-Identifier: Apache-2.0
#include "catalog/catalog.h"

#include "catalog/member_catalog.h"

namespace tessera::catalog {

CatalogChange::CatalogChange(std::function<void()> publish, std::function<void()> undo)
    : publish_(std::move(publish)), undo_(std::move(undo)) {}

CatalogChange::CatalogChange(CatalogChange&& other) noexcept
    : publish_(std::exchange(other.publish_, nullptr)),
      undo_(std::exchange(other.undo_, nullptr)) {}

CatalogChange& CatalogChange::operator=(CatalogChange&& other) noexcept {
    if (this == &other) return *this;
    if (undo_) undo_();
    publish_ = std::exchange(other.publish_, nullptr);
    undo_ = std::exchange(other.undo_, nullptr);
    return *this;
}

CatalogChange::~CatalogChange() {
    if (undo_) undo_();
}

void CatalogChange::published() {
    undo_ = nullptr;
    if (auto publish = std::exchange(publish_, nullptr)) publish();
}

Result<std::unique_ptr<Catalog>> Catalog::open(storage::Engine& engine,
                                               bool logs_tables,
                                               Random& random) {
    auto catalog = std::make_unique<MemberCatalog>(engine, logs_tables, random);
    TRY_OK(catalog->start());
    return std::unique_ptr<Catalog>(std::move(catalog));
}

}  // namespace tessera::catalog

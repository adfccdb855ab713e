// SPDX-License-Identifier: Apache-2.0
#include "catalog/metadata.h"

#include "bson/builder.h"

namespace tessera::catalog {

bson::Document CollectionMetadata::to_document() const {
    bson::Builder builder;
    builder.append("ns", ns.to_string()).append("uuid", uuid).append("options", options);
    builder.append("ident", ident);
    {
        auto list = builder.array("indexes");
        for (const IndexMetadata& index : indexes) {
            auto object = list.object();
            object.append("spec", index.spec).append("ident", index.ident);
            if (!index.ready_at.is_null()) object.append("readyAt", index.ready_at);
        }
    }
    if (!builds.empty()) {
        auto list = builder.array("builds");
        for (const NotedBuild& build : builds) {
            auto object = list.object();
            object.append("id", build.id);
            auto specs = object.array("specs");
            for (const bson::Document& spec : build.specs)
                specs.append(spec);
        }
    }
    return std::move(builder).finish();
}

namespace {

Result<NotedBuild> parse_build(const bson::Value& value) {
    const Error damaged(ErrorCode::internal_error, "The catalog holds a build that is no build");
    if (!value.is_object()) return damaged;
    const auto id = bson::uuid_of(value.as_view()["id"]);
    const bson::Value specs = value.as_view()["specs"];
    if (!id || !specs.is_array()) return damaged;
    NotedBuild build;
    build.id = *id;
    for (const bson::Element& spec : specs.as_view()) {
        if (!spec.value.is_object()) return damaged;
        build.specs.emplace_back(spec.value.as_view());
    }
    return build;
}

}  // namespace

Result<CollectionMetadata> CollectionMetadata::parse(bson::View document) {
    const Error damaged(ErrorCode::internal_error, "The catalog holds an entry that is no entry");
    CollectionMetadata result;
    const bson::Value ns = document["ns"];
    const bson::Value uuid = document["uuid"];
    const bson::Value options = document["options"];
    const bson::Value ident = document["ident"];
    const bson::Value indexes = document["indexes"];
    if (!ns.is_string() || uuid.type() != bson::Type::binary || !options.is_object() ||
        !ident.is_string() || !indexes.is_array()) {
        return damaged;
    }
    const std::string_view bytes = uuid.as_binary().bytes;
    if (bytes.size() != result.uuid.bytes.size()) return damaged;
    std::memcpy(result.uuid.bytes.data(), bytes.data(), bytes.size());
    result.ns = Namespace::split(ns.as_string());
    result.options = bson::Document(options.as_view());
    result.ident = ident.as_string();
    for (const bson::Element& element : indexes.as_view()) {
        if (!element.value.is_object()) return damaged;
        const bson::Value spec = element.value.as_view()["spec"];
        const bson::Value index_ident = element.value.as_view()["ident"];
        if (!spec.is_object() || !index_ident.is_string()) return damaged;
        IndexMetadata index{
            bson::Document(spec.as_view()), std::string(index_ident.as_string()), {}};
        const bson::Value ready_at = element.value.as_view()["readyAt"];
        if (ready_at.type() == bson::Type::timestamp) index.ready_at = ready_at.as_timestamp();
        result.indexes.push_back(std::move(index));
    }
    if (const bson::Value builds = document["builds"]; builds.is_array()) {
        for (const bson::Element& element : builds.as_view()) {
            TRY(auto build, parse_build(element.value));
            result.builds.push_back(std::move(build));
        }
    }
    return result;
}

std::string metadata_key(const bson::Uuid& uuid) {
    return "c" + std::string(uuid.view());
}
std::string count_key(const bson::Uuid& uuid) {
    return "n" + std::string(uuid.view());
}
std::string multikey_key(std::string_view ident) {
    return "m" + std::string(ident);
}

}  // namespace tessera::catalog

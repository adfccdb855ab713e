// SPDX-License-Identifier: Apache-2.0
#include "query/update/diff.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "bson/validate.h"
#include "query/match/path.h"
#include "query/update/raw.h"

namespace tessera::query {

using bson::Element;
using bson::Type;
using bson::Value;
using bson::View;

namespace {

bool is_same(const Value& one, const Value& two) {
    return one.type() == two.type() && one.bytes() == two.bytes();
}

// --- Computing ---------------------------------------------------------------------------------

class DiffWriter {
public:
    /// Writes the diff's fields (without the enclosing document); false when no diff can say it.
    bool document(View before, View after, std::string& out);
    bool array(View before, View after, std::string& out);

private:
    struct Sections {
        std::string removed;
        std::string updated;
        std::string inserted;
        std::string below;
    };
    void change(std::string_view name,
                const Value& before,
                const Value& after,
                std::string& updated,
                std::string& below);
    static void put_section(std::string& out, std::string_view name, const std::string& elements) {
        if (elements.empty()) return;
        raw::put_header(out, Type::object, name);
        const std::size_t start = raw::open(out);
        out.append(elements);
        raw::close(out, start);
    }
};

std::vector<Element> elements_of(View document) {
    std::vector<Element> result;
    for (const auto& element : document)
        result.push_back(element);
    return result;
}

bool has_duplicates(const std::vector<Element>& elements) {
    std::vector<std::string_view> names;
    names.reserve(elements.size());
    for (const auto& element : elements)
        names.push_back(element.name);
    std::sort(names.begin(), names.end());
    return std::adjacent_find(names.begin(), names.end()) != names.end();
}

// A field of both: a diff below when that is smaller than the value, else the value.
void DiffWriter::change(std::string_view name,
                        const Value& before,
                        const Value& after,
                        std::string& updated,
                        std::string& below) {
    if (is_same(before, after)) return;
    const bool are_objects = before.is_object() && after.is_object();
    if (are_objects || (before.is_array() && after.is_array())) {
        std::string inner;
        const bool is_written = are_objects ? document(before.as_view(), after.as_view(), inner)
                                            : array(before.as_view(), after.as_view(), inner);
        if (is_written && inner.size() + 5 < after.bytes().size()) {
            raw::put_header(below, Type::object, std::string("s").append(name));
            const std::size_t start = raw::open(below);
            below.append(inner);
            raw::close(below, start);
            return;
        }
    }
    raw::put(updated, name, after);
}

bool DiffWriter::document(View before, View after, std::string& out) {
    const std::vector<Element> old = elements_of(before);
    const std::vector<Element> now = elements_of(after);
    if (has_duplicates(old) || has_duplicates(now)) return false;
    std::map<std::string_view, std::size_t> places;
    const auto place_of = [&](std::string_view name, std::size_t from) {
        if (from < old.size() && old[from].name == name) return from;
        if (places.empty()) {
            for (std::size_t i = 0; i < old.size(); ++i)
                places.emplace(old[i].name, i);
        }
        const auto at = places.find(name);
        return at == places.end() || at->second < from ? old.size() : at->second;
    };
    // Fields stay in place as long as they come in the old order; from the first that does not,
    // all are appended anew.
    Sections sections;
    std::vector<bool> is_kept(old.size());
    std::size_t next = 0;
    std::size_t i = 0;
    for (; i < now.size(); ++i) {
        const std::size_t place = place_of(now[i].name, next);
        if (place == old.size()) break;
        is_kept[place] = true;
        next = place + 1;
        change(now[i].name, old[place].value, now[i].value, sections.updated, sections.below);
    }
    std::vector<std::string_view> appended;
    for (; i < now.size(); ++i) {
        raw::put(sections.inserted, now[i].name, now[i].value);
        appended.push_back(now[i].name);
    }
    std::sort(appended.begin(), appended.end());
    for (std::size_t k = 0; k < old.size(); ++k) {
        if (is_kept[k] || std::binary_search(appended.begin(), appended.end(), old[k].name))
            continue;
        raw::put_header(sections.removed, Type::boolean, old[k].name);
        sections.removed.push_back('\0');
    }
    put_section(out, "d", sections.removed);
    put_section(out, "u", sections.updated);
    put_section(out, "i", sections.inserted);
    out.append(sections.below);
    return true;
}

bool DiffWriter::array(View before, View after, std::string& out) {
    raw::put_header(out, Type::boolean, "a");
    out.push_back('\1');
    auto old = before.begin();
    const std::size_t count = after.count();
    if (before.count() > count) {
        raw::put_header(out, Type::int32, "l");
        const auto length = static_cast<std::int32_t>(count);
        out.append(reinterpret_cast<const char*>(&length), sizeof length);
    }
    std::size_t index = 0;
    for (const auto& element : after) {
        const std::string name = std::string(raw::IndexName(index));
        // An array that is misnumbered keeps its names: a diff by positions would lose them.
        if (element.name != name || (old != before.end() && old->name != name)) return false;
        if (old == before.end()) {
            raw::put(out, "u" + name, element.value);
        } else {
            std::string updated;
            change(name, old->value, element.value, updated, out);
            if (!updated.empty()) raw::put(out, "u" + name, element.value);
            ++old;
        }
        ++index;
    }
    return true;
}

// --- Applying ----------------------------------------------------------------------------------

Error malformed(std::string_view what) {
    return {ErrorCode::failed_to_parse, fmt::format("malformed update diff: {}", what)};
}

Status check_size(const std::string& out) {
    if (out.size() <= bson::internal_bytes_max) return {};
    return Error(ErrorCode::bson_object_too_large,
                 fmt::format("BSONObj size: {} is invalid. Size must be between 0 and {}(16MB)",
                             out.size(),
                             bson::internal_bytes_max));
}

struct Entry {
    enum class Kind : std::uint8_t { removed, updated, inserted, below };
    std::string_view name;
    Kind kind;
    Value value;
    bool is_done = false;
};

/// Reads one section's fields into `entries`.
Status read_section(const Element& section, Entry::Kind kind, std::vector<Entry>& entries) {
    if (!section.value.is_object()) return malformed("a section is no object");
    if (section.value.as_view().is_empty()) return malformed("a section is empty");
    for (const auto& field : section.value.as_view()) {
        if (kind == Entry::Kind::removed && (!field.value.is_boolean() || field.value.as_bool())) {
            return malformed("a removed field's value is not false");
        }
        entries.push_back({field.name, kind, field.value});
    }
    return {};
}

Status read_document_diff(View diff, std::vector<Entry>& entries) {
    int last = -1;
    for (const auto& section : diff) {
        int order;
        if (section.name == "d") {
            order = 0;
            TRY_OK(read_section(section, Entry::Kind::removed, entries));
        } else if (section.name == "u") {
            order = 1;
            TRY_OK(read_section(section, Entry::Kind::updated, entries));
        } else if (section.name == "i") {
            order = 2;
            TRY_OK(read_section(section, Entry::Kind::inserted, entries));
        } else if (section.name.starts_with('s')) {
            order = 3;
            if (!section.value.is_object()) return malformed("a diff below is no object");
            entries.push_back({section.name.substr(1), Entry::Kind::below, section.value});
        } else {
            return malformed(fmt::format("unknown section '{}'", section.name));
        }
        if (order < last || (order == last && order < 3)) return malformed("sections out of order");
        last = order;
    }
    if (entries.empty()) return malformed("it is empty");
    return {};
}

class DiffApplier {
public:
    Status document(View before, View diff, std::string& out);
    Status array(View before, View diff, std::string& out);

private:
    Status below(std::string_view name, const Value& before, View diff, std::string& out);
};

bool is_array_diff(View diff) {
    return !diff.is_empty() && diff.front().name == "a";
}

// A diff of something that is no longer an object or array is skipped: a later entry of the same
// oplog removes or replaces it again.
Status DiffApplier::below(std::string_view name, const Value& before, View diff, std::string& out) {
    const bool is_array = is_array_diff(diff);
    if ((is_array && !before.is_array()) || (!is_array && !before.is_object())) {
        raw::put(out, name, before);
        return {};
    }
    raw::put_header(out, before.type(), name);
    return is_array ? array(before.as_view(), diff, out) : document(before.as_view(), diff, out);
}

Status DiffApplier::document(View before, View diff, std::string& out) {
    std::vector<Entry> entries;
    TRY_OK(read_document_diff(diff, entries));
    std::vector<std::size_t> sorted(entries.size());
    for (std::size_t i = 0; i < sorted.size(); ++i)
        sorted[i] = i;
    const auto before_by_name = [&](std::size_t a, std::size_t b) {
        return entries[a].name < entries[b].name;
    };
    std::sort(sorted.begin(), sorted.end(), before_by_name);
    for (std::size_t i = 1; i < sorted.size(); ++i) {
        if (entries[sorted[i]].name == entries[sorted[i - 1]].name) {
            return malformed(fmt::format("field '{}' twice", entries[sorted[i]].name));
        }
    }
    const auto entry_of = [&](std::string_view name) -> Entry* {
        const auto at = std::lower_bound(
            sorted.begin(), sorted.end(), name, [&](std::size_t i, std::string_view wanted) {
                return entries[i].name < wanted;
            });
        return at != sorted.end() && entries[*at].name == name ? &entries[*at] : nullptr;
    };

    const std::size_t start = raw::open(out);
    for (const auto& element : before) {
        Entry* const entry = entry_of(element.name);
        if (entry == nullptr) {
            raw::put(out, element.name, element.value);
            continue;
        }
        const bool is_gone =
            entry->kind == Entry::Kind::removed || entry->kind == Entry::Kind::inserted;
        if (is_gone) continue;
        if (entry->is_done) {  // A document may hold a name twice: the first is meant.
            raw::put(out, element.name, element.value);
        } else if (entry->kind == Entry::Kind::updated) {
            raw::put(out, entry->name, entry->value);
        } else {
            TRY_OK(below(element.name, element.value, entry->value.as_view(), out));
        }
        entry->is_done = true;
    }
    for (const Entry& entry : entries) {
        const bool is_new = entry.kind == Entry::Kind::updated && !entry.is_done;
        if (is_new || entry.kind == Entry::Kind::inserted) raw::put(out, entry.name, entry.value);
    }
    raw::close(out, start);
    return check_size(out);
}

struct ArrayEntry {
    std::size_t index;
    bool is_below;
    Value value;
};

Status read_array_diff(View diff,
                       std::optional<std::size_t>& length,
                       std::vector<ArrayEntry>& entries) {
    bool is_first = true;
    for (const auto& element : diff) {
        if (is_first) {
            if (!element.value.is_boolean() || !element.value.as_bool()) {
                return malformed("'a' is not true");
            }
            is_first = false;
            continue;
        }
        if (element.name == "l") {
            if (length || !entries.empty()) return malformed("'l' out of order");
            if (element.value.type() != Type::int32 || element.value.as_int32() < 0) {
                return malformed("'l' is no length");
            }
            length = static_cast<std::size_t>(element.value.as_int32());
            continue;
        }
        const bool is_below = element.name.starts_with('s');
        if (!is_below && !element.name.starts_with('u')) {
            return malformed(fmt::format("unknown field '{}' of an array's diff", element.name));
        }
        const std::int32_t index = array_index(element.name.substr(1));
        if (index < 0) return malformed(fmt::format("'{}' names no index", element.name));
        if (is_below && !element.value.is_object()) return malformed("a diff below is no object");
        const auto place = static_cast<std::size_t>(index);
        if (!entries.empty() && entries.back().index >= place) {
            return malformed("indexes out of order");
        }
        entries.push_back({place, is_below, element.value});
    }
    return {};
}

Status DiffApplier::array(View before, View diff, std::string& out) {
    std::optional<std::size_t> length;
    std::vector<ArrayEntry> entries;
    TRY_OK(read_array_diff(diff, length, entries));
    const std::size_t start = raw::open(out);
    std::size_t index = 0;
    auto entry = entries.begin();
    for (const auto& element : before) {
        if (length && index >= *length) break;
        const std::string_view name = element.name;  // As it is, even where it is misnumbered.
        if (entry == entries.end() || entry->index != index) {
            raw::put(out, name, element.value);
        } else {
            if (entry->is_below) {
                TRY_OK(below(name, element.value, entry->value.as_view(), out));
            } else {
                raw::put(out, name, entry->value);
            }
            ++entry;
        }
        ++index;
    }
    const Value null(Type::null, "", 0);
    for (; entry != entries.end(); ++entry) {
        if (length && entry->index >= *length) return malformed("an index past the length");
        if (entry->is_below) continue;  // Nothing there any more, or not yet.
        for (; index < entry->index; ++index) {
            raw::put(out, raw::IndexName(index), null);
            TRY_OK(check_size(out));
        }
        raw::put(out, raw::IndexName(index), entry->value);
        ++index;
    }
    for (; length && index < *length; ++index) {
        raw::put(out, raw::IndexName(index), null);
        TRY_OK(check_size(out));
    }
    raw::close(out, start);
    return check_size(out);
}

}  // namespace

ComputedDiff compute_diff(View before, View after) {
    ComputedDiff result;
    if (before == after) {
        result.is_equal = true;
        return result;
    }
    std::string out;
    const std::size_t start = raw::open(out);
    if (!DiffWriter().document(before, after, out)) return result;
    raw::close(out, start);
    if (out.size() < after.size()) result.diff = bson::Document::adopt(std::move(out));
    return result;
}

Result<bson::Document> apply_diff(View document, View diff) {
    if (is_array_diff(diff)) return malformed("a document's diff is an array's");
    std::string out;
    out.reserve(document.size() + diff.size());
    TRY_OK(DiffApplier().document(document, diff, out));
    return bson::Document::adopt(std::move(out));
}

Result<bson::Document> apply_oplog_update(View document, View entry) {
    const Value version = entry["$v"];
    if (version.is_missing()) {
        if (!entry.is_empty() && entry.front().name.starts_with('$')) {
            return malformed("an update without a version");
        }
        return bson::Document(entry);
    }
    if (!version.is_integral() || version.to_int64() != 2) {
        return Error(location(4772600), "the version of an update entry is not 2");
    }
    const Value diff = entry["diff"];
    if (!diff.is_object()) return malformed("'diff' is no object");
    return apply_diff(document, diff.as_view());
}

}  // namespace tessera::query

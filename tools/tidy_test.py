#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of tidy.py: each rule finds what it should and lets the right form pass."""

import unittest

import tidy

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"
HASH_SPDX = "# SPDX-License-Identifier: Apache-2.0\n"


def rules(name, text, **more):
    """The rules `text` breaks, as file `name` of an otherwise empty tree."""
    files = {name: (SPDX if name.endswith((".cc", ".h")) else HASH_SPDX) + text}
    files.update(more.pop("files", {}))
    return [v[2] for v in tidy.check_all(files, more.pop("exceptions", {})) if v[2] != "readme"]


class Layers(unittest.TestCase):
    tree = {
        "src/base/a.h": SPDX,
        "src/bson/CMakeLists.txt": "module(bson DEPS base LIBRARIES fmt::fmt)\n",
        "src/wire/CMakeLists.txt": "module(wire DEPS bson)\n",
        "src/net/CMakeLists.txt": "module(net DEPS wire LIBRARIES tessera::asio)\n",
        "src/bson/b.h": SPDX,
        "src/net/n.h": SPDX,
        "src/async/t.h": SPDX,
    }

    def test_looking_down_is_right_also_through_what_lies_between(self):
        self.assertEqual(rules("src/wire/w.cc", '#include "base/a.h"\n#include "bson/b.h"\n',
                               files=self.tree), [])

    def test_looking_up_is_not(self):
        self.assertEqual(rules("src/bson/x.cc", '#include "net/n.h"\n', files=self.tree), ["layer"])

    def test_what_deps_leave_out_is_named(self):
        self.assertEqual(rules("src/net/x.cc", '#include "async/t.h"\n', files=self.tree),
                         ["layer"])

    def test_an_include_of_nothing_is_named(self):
        self.assertEqual(rules("src/net/x.cc", '#include "net/none.h"\n', files=self.tree),
                         ["include"])

    def test_deps_that_look_up_are_named(self):
        self.assertEqual(rules("src/bson/CMakeLists.txt", "module(bson DEPS wire)\n"), ["layer"])

    def test_an_unknown_module_is_named(self):
        self.assertEqual(rules("src/extra/CMakeLists.txt", "module(extra DEPS base)\n"), ["layer"])

    def test_deps_end_where_libraries_begin(self):
        text = "module(query DEPS bson base LIBRARIES PkgConfig::pcre2 fmt::fmt)\n"
        self.assertEqual(tidy.declared_modules({"src/query/CMakeLists.txt": text}),
                         {"query": ["bson", "base"]})

    def test_the_table_has_no_cycle_and_knows_all_it_names(self):
        below = tidy.closed(tidy.LAYERS)
        for name, lower in below.items():
            self.assertNotIn(name, lower)
            self.assertLessEqual(lower, set(tidy.LAYERS))


class Pure(unittest.TestCase):
    def test_clocks_threads_and_unordered_containers_are_named(self):
        for line in ("std::unordered_map<int, int> m;", "std::thread t;", "#include <mutex>",
                     "auto now = std::chrono::steady_clock::now();", "std::mt19937 g;"):
            self.assertEqual(rules("src/consensus/x.cc", line + "\n"), ["pure"], line)
            self.assertEqual(rules("src/storage/x.cc", line + "\n"), [], line)

    def test_comments_literals_and_tests_are_let_be(self):
        self.assertEqual(rules("src/wire/x.cc", '// no std::thread\nf("std::thread");\n'), [])
        self.assertEqual(rules("src/wire/x_test.cc", "std::unordered_set<int> s;\n"), [])


class Banned(unittest.TestCase):
    def test_calls(self):
        for line in ("std::this_thread::sleep_for(x);", "usleep(3);", "int x = rand();",
                     "std::cout << 1;", "std::regex r;", "throw 1;", "int x = atoi(s);",
                     "#include <boost/asio.hpp>"):
            self.assertEqual(rules("src/query/x.cc", line + "\n"), ["banned"], line)

    def test_right_forms(self):
        for line in ("co_await clock.sleep_until(t);", "random.rand();", "int brand(int);",
                     "using namespace std::string_view_literals;", "timer->sleep(x);"):
            self.assertEqual(rules("src/query/x.cc", line + "\n"), [], line)

    def test_a_folder_may_be_the_right_place(self):
        self.assertEqual(rules("src/net/x.cc", "#include <boost/asio.hpp>\n"), [])


class Await(unittest.TestCase):
    def test_braces_and_capturing_lambdas(self):
        for line in ("co_await f({1, 2});", "auto x = co_await g(Options{.a = 1});",
                     "CO_TRY(auto d, co_await h(T{}));", "co_await f([&] (int) ;",
                     "co_await f(1, [this](int) ;"):
            self.assertEqual(rules("src/net/x.cc", line + "\n"), ["co_await"], line)

    def test_right_forms(self):
        for line in ("if (co_await f(x)) { g(); }", "co_await f(a[i], b);", "co_await f(x); {}",
                     "g(co_await f(x), T{});", "// co_await f({});"):
            self.assertEqual(rules("src/net/x.cc", line + "\n"), [], line)


class Lengths(unittest.TestCase):
    long_body = "    f();\n" * 71

    def test_a_long_function(self):
        text = "namespace a {\nvoid g(int x) const {\n" + self.long_body + "}\n}\n"
        self.assertEqual(rules("src/net/x.cc", text), ["function-length"])

    def test_a_constructor_a_test_and_a_trailing_type(self):
        for head in ("A::A(int x) : x_(x), y_(1) {", "TEST(Core, Refuses) {",
                     "auto f(int x) -> std::vector<int> {"):
            text = head + "\n" + self.long_body + "}\n"
            self.assertEqual(rules("src/net/x.cc", text), ["function-length"], head)

    def test_long_classes_namespaces_and_tables_are_no_functions(self):
        for head, end in (("class A {", "};"), ("namespace a {", "}"),
                          ("constexpr int table[] = {", "};")):
            text = head + "\n" + "    int f();\n" * 80 + end + "\n"
            self.assertEqual(rules("src/net/x.cc", text), [], head)

    def test_short_functions_in_a_long_class(self):
        text = "class A {\n" + "    int f(int x) { return x; }\n" * 80 + "};\n"
        self.assertEqual(rules("src/net/x.cc", text), [])

    def test_a_lambda_counts_to_its_function(self):
        text = "void g() {\n    auto f = [&](int) {\n" + self.long_body + "    };\n}\n"
        self.assertEqual(rules("src/net/x.cc", text), ["function-length"])

    def test_python(self):
        text = "def f():\n" + "    g()\n" * 71
        self.assertEqual(rules("tests/x.py", text), ["function-length"])

    def test_a_long_file_and_its_exception(self):
        text = "int x;\n" * 900
        self.assertEqual(rules("src/net/x.cc", text), ["file-length"])
        key = ("file-length", "src/net/x.cc")
        self.assertEqual(rules("src/net/x.cc", text, exceptions={key: (950, "why")}), [])
        self.assertEqual(rules("src/net/x.cc", text, exceptions={key: (890, "why")}),
                         ["file-length"])

    def test_an_exception_nobody_needs(self):
        key = ("file-length", "src/net/x.cc")
        self.assertEqual(rules("src/net/x.cc", "", exceptions={key: (950, "why")}), ["exception"])


class Text(unittest.TestCase):
    def test_columns_blanks_words_and_licence(self):
        self.assertEqual(rules("src/net/x.cc", "x" * 101 + "\n"), ["columns"])
        self.assertEqual(rules("src/net/x.cc", "é" * 100 + "\n"), [])
        self.assertEqual(rules("src/net/x.cc", "int x; \n"), ["blanks"])
        self.assertEqual(rules("src/net/x.cc", "// TO" "DO: later\n"), ["word"])
        self.assertEqual(rules("docs/x.md", "from py" "pi.org\n"), ["word"])
        bare = [v[2] for v in tidy.check_all({"src/net/x.cc": "int x;\n"}, {})]
        self.assertEqual(bare, ["spdx"])

    def test_nolint_names_its_check_and_reason(self):
        self.assertEqual(rules("src/net/x.cc", "f();  // NOLINT\n"), ["nolint"])
        self.assertEqual(rules("src/net/x.cc", "f();  // NOLINT(bugprone-x): C API\n"), [])

    def test_sleeping_in_tests(self):
        self.assertEqual(rules("tests/test_x.py", "time.sleep(1)\n"), ["sleep"])
        self.assertEqual(rules("tests/lib/wait.py", "time.sleep(1)\n"), [])

    def test_skipped_tests(self):
        self.assertEqual(rules("src/net/x_test.cc", "TEST(A, DISABLED_B) {}\n"), ["skipped"])

    def test_readme(self):
        files = {"src/net/CMakeLists.txt": "module(net DEPS wire)\n"}
        self.assertEqual([v[2] for v in tidy.check_all(files, {})], ["readme"])


class Strip(unittest.TestCase):
    def test_lines_and_columns_stay(self):
        text = 'a /* b\n c */ d("e//f", \'"\') // g\nR"(h " i)" 1\'000\'000 j\n'
        bare = tidy.strip(text)
        self.assertEqual([len(line) for line in bare.split("\n")],
                         [len(line) for line in text.split("\n")])
        self.assertNotIn("b", bare)
        self.assertNotIn("e//f", bare)
        self.assertNotIn("h", bare)
        self.assertIn("j", bare)
        self.assertIn("1'000'000", bare)


if __name__ == "__main__":
    unittest.main()

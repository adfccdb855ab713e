#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the house style (docs/style.md): what a compiler does not see and a reviewer tires of.

    tools/tidy.py            checks the whole tree; prints `file:line: rule: what to do instead`
    tools/tidy.py FILE...    shows only what concerns these files

Standard library of Python only.  It runs as the CTest test `tools.tidy`; tidy_test.py tests it.
"""

import ast
import os
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

COLUMNS_MAX = 100
FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 70
README_LINES_MAX = 60

# Each exception: (rule, file) -> (the limit it has instead, or 0; why).  The list may only shrink:
# an exception that is not needed any longer is itself reported.
EXCEPTIONS = {}

# What each folder of src/ may include beside itself: these and what those may.
LAYERS = {
    "base": [],
    "bson": ["base"],
    "consensus": ["base"],
    "wire": ["bson"],
    "routing": ["bson"],
    "storage": ["bson"],
    "async": ["base"],
    "query": ["storage"],
    "catalog": ["query"],
    "replication": ["consensus", "catalog", "async"],
    "sharding": ["routing", "replication"],
    "security": ["catalog", "async"],
    "commands": ["sharding", "security", "wire"],
    "roles": ["commands"],
    "sim": ["roles"],
    "net": ["wire", "async"],
    "server": ["roles", "net"],
    "launcher": ["net"],
}

# Pure code: state and event in, state and actions out.
PURE = ("src/consensus/", "src/wire/", "src/routing/", "src/bson/", "src/query/match/",
        "src/query/update/", "src/query/projection/", "src/query/expression/")
IMPURE = [
    (r"#include <(thread|mutex|shared_mutex|condition_variable|future|semaphore|stop_token|latch"
     r"|barrier|iostream|fstream|random)>", "no threads, locks, files or library randomness"),
    (r"\b(system_clock|steady_clock|high_resolution_clock|clock_gettime|gettimeofday)\b",
     "time comes in as an argument"),
    (r"\bstd::(thread|jthread|mutex|condition_variable|async)\b", "no threads and no locks"),
    (r"\basio\b", "network belongs to net"),
    (r"\bunordered_(map|set|multimap|multiset)\b", "ordered containers, or a sorted vector"),
    (r"\b(random_device|uniform_int_distribution|uniform_real_distribution|mt19937)\b",
     "Random comes in as an argument"),
    (r"\b(getenv|fopen)\s*\(", "no environment and no files"),
]

# (pattern, folders where it is right, what to use instead)
BANNED = [
    (r"\bthis_thread::(sleep_for|sleep_until|yield)\b|\b(usleep|nanosleep)\b"
     r"|(?<![\w.>:] )(?<![\w.>:])sleep\s*\(", (),
     "wait for a condition: an Event, or a Timer of async"),
    (r"(?<![\w.>])(std::)?s?rand\s*\(", (), "Random of base/random.h"),
    (r"\bstd::(cout|cerr|clog)\b", (), "the log of base/log.h; fmt::print in a program's output"),
    (r"\bstd::regex\b|#include <regex>", (), "PCRE2"),
    (r"\bthrow\b(?!\s*\()", (), "return an Error (Result, Status)"),
    (r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|atof)\s*\(", (),
     "std::string, fmt::format, std::from_chars"),
    (r"\bboost/asio\b|#include <boost/beast", ("src/net/",), "async's words (Timer, Transport)"),
    (r"#include <wiredtiger", ("src/storage/wiredtiger/",), "storage/engine.h"),
    (r"\busing namespace (?!std::(chrono_|string_view_|)?literals\b)", ("fuzz/",), "names in full"),
]
WORDS = [
    (r"\b(TODO|FIXME|XXX|HACK)\b", "finish it, refuse it by name, or put it in docs/plan.md"),
    # A registry is reached through its client, whose configuration says where it is.
    (r"\b(pypi\.org|pythonhosted\.org|npmjs\.(org|com)|proxy\.golang\.org|sum\.golang\.org"
     r"|crates\.io|deb\.debian\.org)\b", "leave a registry's host to its client"),
]
# An implicit constructor is its own reason; any other check left out has one beside it.
NOLINT_BARE = (r"\bNOLINT(NEXTLINE)?\b(?!\(google-explicit-constructor\)"
               r"|\([\w.,-]+\): \S)")
CODE = (".cc", ".h", ".def")
WITH_SPDX = CODE + (".py", ".sh", ".cmake", ".js", ".mjs", ".ts", ".css")
# A .def file is a table: a row is a line.
WITH_COLUMNS = tuple(end for end in WITH_SPDX if end != ".def")
SKIPPED_FOLDERS = {"build", "node_modules", "__pycache__", "testdata", "corpus", "data", ".git",
                   ".tessera", ".venv"}


def strip(text):
    """Source text with comments and the insides of literals made blank; lines and columns stay."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"(?P<tag>[^()\s\\]{0,16})\(.*?\)(?P=tag)"'
        r'|"(?:\\.|[^"\\\n])*"' r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'", re.S)

    def blank(match):
        found = match.group(0)
        if found[0] == "/" or found[0] == "R":
            return re.sub(r"[^\n]", " ", found)
        return found[0] + " " * (len(found) - 2) + found[-1]

    return pattern.sub(blank, text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def closed(layers):
    """name -> everything below it."""
    below = {}

    def visit(name):
        if name not in below:
            below[name] = set()
            for lower in layers.get(name, ()):
                below[name] |= {lower} | visit(lower)
        return below[name]

    for name in layers:
        visit(name)
    return below


def declared_modules(files):
    """Module name -> its DEPS, as src/*/CMakeLists.txt say."""
    modules = {}
    for name, text in files.items():
        match = re.fullmatch(r"src/(\w+)/CMakeLists.txt", name)
        found = re.search(r"\bmodule\(\s*(\w+)([^)]*)\)", text) if match else None
        if found:
            deps = re.search(r"\bDEPS\s+((?:(?!LIBRARIES\b)\w+\s*)+)", found.group(2))
            modules[match.group(1)] = deps.group(1).split() if deps else []
    return modules


def check_layers(files):
    modules = declared_modules(files)
    allowed, declared = closed(LAYERS), closed(modules)
    for module, deps in sorted(modules.items()):
        where = f"src/{module}/CMakeLists.txt"
        if module not in LAYERS:
            yield where, 1, "layer", f"{module} is not a layer of design.md section 3"
            continue
        for dep in deps:
            if dep not in allowed[module]:
                yield where, 1, "layer", f"{module} may not use {dep}: a folder may only look down"
    for name, text in sorted(files.items()):
        parts = name.split("/")
        if parts[0] != "src" or len(parts) < 3 or not name.endswith(CODE):
            continue
        module = parts[1]
        for match in re.finditer(r'^\s*#\s*include\s+"([^"]+)"', text, re.M):
            line, target = line_of(text, match.start(1)), match.group(1)
            other = target.split("/")[0]
            if f"src/{target}" not in files:
                yield name, line, "include", f'"{target}" is no file under src/ (<> for others)'
            elif other == module:
                continue
            elif other not in allowed.get(module, ()):
                yield name, line, "layer", f"{module} may not include {other}"
            elif module in modules and other not in declared.get(module, ()):
                yield name, line, "layer", f"{other} is missing from DEPS of {module}"


def check_pure(name, bare):
    if not name.startswith(PURE) or not name.endswith(CODE) or name.endswith("_test.cc"):
        return
    for pattern, instead in IMPURE:
        for match in re.finditer(pattern, bare):
            yield name, line_of(bare, match.start()), "pure", \
                f"'{match.group(0)}' in pure code: {instead}"


def check_banned(name, bare):
    if not name.endswith(CODE):
        return
    for pattern, right_in, instead in BANNED:
        if name.startswith(right_in or ("\0",)):
            continue
        for match in re.finditer(pattern, bare):
            if name.endswith("_test.cc") and match.group(0) == "throw":
                continue
            yield name, line_of(bare, match.start()), "banned", \
                f"'{match.group(0).strip()}'; use instead: {instead}"


def await_expressions(bare):
    """(offset, text) of each co_await expression: up to what closes or ends it."""
    for match in re.finditer(r"\bco_await\b", bare):
        depth = 0
        for i in range(match.end(), len(bare)):
            c = bare[i]
            if c in "([{":
                depth += 1
            elif c in ")]}":
                depth -= 1
            if depth < 0 or (depth == 0 and c in ";,"):
                break
        yield match.start(), bare[match.end():i]


def check_await(name, bare):
    # g++ 12.2 destroys such a temporary twice, or too early.
    if not name.endswith(CODE):
        return
    for offset, expression in await_expressions(bare):
        line = line_of(bare, offset)
        if "{" in expression:
            yield name, line, "co_await", "braces inside: name the argument first"
        elif re.search(r"[(,]\s*\[\s*[&=\w*]", expression):
            yield name, line, "co_await", "a capturing lambda inside: name the argument first"


def functions(bare):
    """(line, length) of each function's body, found by its braces."""
    depth_is_function = []
    starts = []
    last = 0
    for match in re.finditer(r"[{};]", bare):
        i, c = match.start(), match.group(0)
        if c == "{":
            head = bare[last:i]
            # Preprocessor lines before a head are no part of it.
            head = re.sub(r"^\s*#.*(\\\n.*)*$", "", head, flags=re.M).strip()
            inside = bool(depth_is_function) and depth_is_function[-1]
            opens = not inside and re.search(r"\)[^()=]*(->[^;{]*)?$|\)\s*:\s*\w.*$", head, re.S) \
                and not re.match(r"(namespace|class|struct|enum|union|extern)\b", head)
            depth_is_function.append(bool(inside or opens))
            starts.append(i if opens else -1)
        elif c == "}" and starts:
            start = starts.pop()
            depth_is_function.pop()
            if start >= 0:
                yield line_of(bare, start), bare.count("\n", start, i) + 1
        if not (c == "}" and depth_is_function and depth_is_function[-1]):
            last = i + 1


def check_length(name, text, bare):
    if not name.endswith(WITH_SPDX):
        return
    lines = text.count("\n")
    if lines > FILE_LINES_MAX:
        yield name, lines, "file-length", f"{lines} lines, the limit is {FILE_LINES_MAX}: split it"
    spans = []
    if name.endswith(CODE):
        spans = functions(bare)
    elif name.endswith(".py"):
        spans = python_functions(text)
    for line, length in spans:
        if length > FUNCTION_LINES_MAX:
            yield name, line, "function-length", \
                f"{length} lines, the limit is {FUNCTION_LINES_MAX}: split it"


def python_functions(text):
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        yield error.lineno or 1, FUNCTION_LINES_MAX + 1
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.end_lineno - node.lineno + 1


def check_text(name, text):
    if name.endswith(WITH_COLUMNS):
        for number, line in enumerate(text.split("\n"), 1):
            if len(line) > COLUMNS_MAX:
                yield name, number, "columns", f"{len(line)} columns, the limit is {COLUMNS_MAX}"
            if line != line.rstrip() or "\t" in line:
                yield name, number, "blanks", "no tabs and no blanks at a line's end"
    one_liner = re.fullmatch(r"src/\w+/CMakeLists.txt", name)
    if name.endswith(WITH_SPDX) or (name.endswith("CMakeLists.txt") and not one_liner):
        head = text.split("\n", 3)[:3]
        if not any("SPDX-License-Identifier: Apache-2.0" in line for line in head):
            yield name, 1, "spdx", "the first line says SPDX-License-Identifier: Apache-2.0"
    if name == "tools/tidy.py" or name == "tools/tidy_test.py":
        return
    for pattern, instead in WORDS:
        for match in re.finditer(pattern, text):
            yield name, line_of(text, match.start()), "word", f"'{match.group(0)}': {instead}"
    for match in re.finditer(NOLINT_BARE, text):
        yield name, line_of(text, match.start()), "nolint", "NOLINT(check): the reason"


def check_tests(name, text):
    if name.endswith("_test.cc"):
        for match in re.finditer(r"\bDISABLED_\w+|\bGTEST_SKIP\b", text):
            yield name, line_of(text, match.start()), "skipped", "a test runs, or is not there"
    if name.startswith("tests/") and name.endswith(".py") and name != "tests/lib/wait.py":
        for match in re.finditer(r"\btime\.sleep\b", text):
            yield name, line_of(text, match.start()), "sleep", "wait_until of tests/lib/wait.py"


def check_readmes(files):
    for module in sorted({name.split("/")[1] for name in files
                          if name.startswith("src/") and name.endswith("/CMakeLists.txt")}):
        readme = f"src/{module}/README.md"
        if readme not in files:
            yield readme, 1, "readme", "missing: purpose, three types, invariants, how tested"
        elif files[readme].count("\n") > README_LINES_MAX:
            yield readme, README_LINES_MAX, "readme", f"at most {README_LINES_MAX} lines"


def check_all(files, exceptions=None):
    """Every violation in `files`, a dict of name -> text, as (name, line, rule, message)."""
    exceptions = EXCEPTIONS if exceptions is None else exceptions
    found = list(check_layers(files)) + list(check_readmes(files))
    for name, text in sorted(files.items()):
        bare = strip(text) if name.endswith(CODE) else text
        # Includes are literals too, yet rules name them.
        for check in (check_pure(name, bare), check_banned(name, bare), check_await(name, bare),
                      check_length(name, text, bare), check_text(name, text),
                      check_tests(name, text)):
            found.extend(check)
    used = set()
    kept = []
    for violation in found:
        name, _, rule, message = violation
        limit, _ = exceptions.get((rule, name), (None, None))
        number = re.match(r"\d+", message)
        if limit is not None:
            used.add((rule, name))
        if limit is None or (limit and number and int(number.group(0)) > limit):
            kept.append(violation)
    for rule, name in sorted(set(exceptions) - used):
        kept.append(("tools/tidy.py", 1, "exception", f"({rule}, {name}) is not needed any longer"))
    return kept


def read_tree(root):
    files = {}
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS
                            and not f.startswith("build"))
        for name in names:
            path = pathlib.Path(folder, name)
            short = path.relative_to(root).as_posix()
            wanted = short.endswith(WITH_SPDX + (".md", "CMakeLists.txt", ".json", ".yaml")) \
                or name == "Makefile" or short.startswith(".ci/")
            if wanted and path.is_file() and not path.is_symlink():
                files[short] = path.read_text(encoding="utf-8", errors="replace")
    return files


def main(arguments):
    files = read_tree(ROOT)
    violations = check_all(files)
    if arguments:
        chosen = tuple(os.path.relpath(os.path.abspath(a), ROOT) for a in arguments)
        violations = [v for v in violations if v[0].startswith(chosen)]
    for name, line, rule, message in violations:
        print(f"{name}:{line}: {rule}: {message}")
    if violations:
        print(f"{len(violations)} violations of the house style in {len(files)} files. "
              "Next step: mend each as its line says (docs/style.md says why).")
        return 1
    print(f"{len(files)} files keep the house style")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs CTest and the end-to-end suite, shows progress and failures, and counts them together.

    tools/test.py --build build/release [--unit | --e2e] [pytest arguments...]

The last line is `N passed, N failed`; the exit code is 1 when anything failed or nothing ran.
A suite that could not run at all counts as one failure: silence is never success.
"""

import argparse
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
UNIT_SECONDS_MAX = 420
E2E_SECONDS_MAX = 1500
QUIET_SECONDS = 10
REASON_CHARACTERS_MAX = 400
# ctest says two lines a test; a passing test's are shown only now and then.
ROUTINE = re.compile(r"^\s*(Start\s+\d+:|\d+/\d+ Test\s+#\d+:.*\sPassed\s)")


def count(report):
    """(passed, failed names with their reasons) of a JUnit file, or None where none can be read."""
    try:
        tree = xml.etree.ElementTree.parse(report)
    except (OSError, xml.etree.ElementTree.ParseError):
        return None
    passed, failed = 0, []
    for case in tree.iter("testcase"):
        # What ctest could not run, for its program is not there, it calls `notrun`.
        bad = (case.find("failure") is not None or case.find("error") is not None
               or case.get("status") == "notrun")
        if bad:
            name = "::".join(filter(None, [case.get("classname"), case.get("name")]))
            failed.append(f"{name}: {reason(case)}")
        elif case.find("skipped") is None and case.get("status") != "disabled":
            passed += 1
    return passed, failed


def reason(case):
    """Why a test case failed, as its report says it, in one line."""
    for kind in ("failure", "error"):
        if (found := case.find(kind)) is not None:
            return " ".join((found.get("message") or "no message").split())[:REASON_CHARACTERS_MAX]
    return "it did not run"


def show(lines):
    """Prints what is no routine, and a line of routine every QUIET_SECONDS."""
    shown = time.monotonic()
    for line in lines:
        routine = ROUTINE.match(line)
        if not routine or (" Test " in line and time.monotonic() - shown > QUIET_SECONDS):
            print(line, end="", flush=True)
            shown = time.monotonic()


def run(command, report, seconds_max, quiet=False):
    """Runs one suite.  One that fails without a failed test to its name is itself the failure."""
    report.unlink(missing_ok=True)
    started = time.monotonic()
    name = " ".join(str(word) for word in command[:3])
    try:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, text=True,
                                   errors="replace", stdout=subprocess.PIPE if quiet else None)
        # A suite past its time is asked to end, so that it can end what it started itself.
        timer = threading.Timer(seconds_max, process.send_signal, [signal.SIGINT])
        timer.start()
        if quiet:
            with process.stdout:
                show(process.stdout)
        code = process.wait()
        timer.cancel()
        if time.monotonic() - started > seconds_max:
            print(f"== {name}: not done in {seconds_max} s", flush=True)
            code = code or 1
    except OSError as error:
        print(f"== {name}: {error}", flush=True)
        code = 1
    counted = count(report)
    passed, failed = counted if counted is not None else (0, [])
    if code != 0 and not failed:
        failed.append(f"{name} ended with code {code}")
    if code == 0 and passed == 0:
        failed.append(f"{name} found nothing to run")
    seconds = time.monotonic() - started
    print(f"== {len(failed)} failed, {passed} passed in {seconds:.0f} s", flush=True)
    return passed, failed


def run_unit(build):
    print("== unit tests (ctest)", flush=True)
    report = build / "unit.xml"
    jobs = os.environ.get("TESSERA_JOBS", str(os.cpu_count() or 2))
    command = ["ctest", "--test-dir", build, "-j", jobs, "--output-on-failure",
               "--timeout", "120", "--no-tests=error", "--output-junit", report]
    return run(command, report, UNIT_SECONDS_MAX, quiet=True)


def cached(name):
    where = subprocess.run([ROOT / "tools/setup/clients.sh", "--where", name],
                           stdout=subprocess.PIPE, text=True, check=True)
    return pathlib.Path(where.stdout.strip())


def run_e2e(build, arguments):
    print("== end-to-end tests (real processes, real clients)", flush=True)
    report = build / "e2e.xml"
    os.environ["TESSERA_BIN"] = str(build / "bin")
    command = [cached("python") / "bin/python", "-m", "pytest", "tests", f"--junitxml={report}",
               *arguments]
    return run(command, report, E2E_SECONDS_MAX)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--unit", action="store_true")
    parser.add_argument("--e2e", action="store_true")
    options, arguments = parser.parse_known_args()
    build = options.build.resolve()
    both = not options.unit and not options.e2e
    passed, failed = 0, []
    if both or options.unit:
        more = run_unit(build)
        passed, failed = passed + more[0], failed + more[1]
    if both or options.e2e:
        more = run_e2e(build, arguments)
        passed, failed = passed + more[0], failed + more[1]
    for name in failed:
        print(f"FAILED {name}")
    if failed:
        print("next step, for one of them: ctest --test-dir "
              f"{options.build} --output-on-failure -R NAME, or: make e2e PYTEST='-k NAME'")
    summary = f"{passed} passed, {len(failed)} failed"
    (build / "summary.txt").write_text(summary + "\n", encoding="utf-8")
    print(summary, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

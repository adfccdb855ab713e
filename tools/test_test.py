#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of test.py: what it counts, and that silence is never success."""

import contextlib
import io
import pathlib
import sys
import tempfile
import unittest

import test as runner


class Count(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.report = pathlib.Path(folder.name, "report.xml")

    def run_python(self, code):
        with contextlib.redirect_stdout(io.StringIO()):
            return runner.run([sys.executable, "-c", code], self.report, 30, quiet=True)

    def test_passed_failed_and_skipped(self):
        self.report.write_text('<testsuites><testsuite><testcase name="a" status="run"/>'
                               '<testcase name="b" classname="C">'
                               '<failure message="1 is&#10;not 2"/></testcase>'
                               '<testcase name="c"><error/></testcase>'
                               '<testcase name="d"><skipped/></testcase>'
                               '<testcase name="e" status="notrun"><skipped/></testcase>'
                               '<testcase name="f" status="disabled"/>'
                               '</testsuite></testsuites>', encoding="utf-8")
        self.assertEqual(runner.count(self.report),
                         (1, ["C::b: 1 is not 2", "c: no message", "e: it did not run"]))

    def test_a_suite_that_writes_no_report_has_failed(self):
        passed, failed = self.run_python("pass")
        self.assertEqual((passed, len(failed)), (0, 1))

    def test_a_suite_that_ends_badly_has_failed(self):
        passed, failed = self.run_python("raise SystemExit(3)")
        self.assertEqual((passed, len(failed)), (0, 1))

    def test_a_good_suite(self):
        text = "<testsuite><testcase name='a'/></testsuite>"
        self.assertEqual(self.run_python(
            f"open({str(self.report)!r}, 'w').write({text!r})"), (1, []))


if __name__ == "__main__":
    unittest.main()

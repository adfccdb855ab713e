# SPDX-License-Identifier: Apache-2.0
"""Tests of the harness itself."""

import signal
import socket
import sys

import pytest

from lib import ports, process
from lib.wait import NotInTime, holds_for, wait_until


def test_wait_until_returns_the_first_true_value():
    values = iter([0, None, "yes"])
    assert wait_until(lambda: next(values), 5, "a value") == "yes"


def test_wait_until_names_what_did_not_come():
    with pytest.raises(NotInTime, match="a unicorn"):
        wait_until(lambda: None, 0.05, "a unicorn")


def test_wait_until_takes_an_exception_for_not_yet():
    values = iter([0, 1])
    assert wait_until(lambda: 1 // next(values), 5, "a division") == 1


def test_wait_until_gives_up_when_waiting_is_of_no_use():
    with pytest.raises(NotInTime, match="it is dead"):
        wait_until(lambda: None, 60, "an answer", unless=lambda: "it is dead")


def test_holds_for_fails_at_once():
    with pytest.raises(AssertionError, match="the peace"):
        holds_for(lambda: False, 60, "the peace")


def test_ports_are_free_and_given_once():
    given = ports.free_ports(3) + ports.free_ports(3)
    assert len(set(given)) == 6
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", given[0]))
        taken.listen()
        assert not ports.is_free(given[0])


def test_a_process_can_be_frozen_thawed_and_killed(folder):
    script = ("import json, signal\n"
              "print(json.dumps({'id': 7, 'msg': 'here I am'}), flush=True)\n"
              "signal.pause()")
    child = process.Process("child", [sys.executable, "-c", script], f"{folder}/log").start()
    assert child.wait_logged(7) == child.logged("here I am")
    child.freeze()
    wait_until(lambda: process.psutil.Process(child.pid).status() == "stopped", 5, "the freeze")
    child.thaw()
    wait_until(lambda: process.psutil.Process(child.pid).status() != "stopped", 5, "the thaw")
    child.kill9()
    assert child.exit_code() == -signal.SIGKILL


def test_what_is_left_in_a_folder_is_found_and_ended(folder):
    child = process.Process("child", ["tail", "-f", "/dev/null", f"{folder}/log"], f"{folder}/log")
    child.start()
    assert [p.pid for p in process.processes_below(folder)] == [child.pid]
    assert process.reap_below(folder)
    assert not child.alive()
    assert not process.processes_below(folder)

# SPDX-License-Identifier: Apache-2.0
"""A process a test started: its log, its signals, and the certainty that it ends with the test."""

import json
import os
import pathlib
import signal
import subprocess

import psutil

from lib.wait import wait_until

# Every process alive or dead that this run started, oldest first.
_started = []


class Process:
    """A child whose standard output and error go to one file."""

    def __init__(self, name, argv, log, env=None, cwd=None):
        self.name = name
        self.argv = [str(word) for word in argv]
        self.log = pathlib.Path(log)
        self.env = {**os.environ, **(env or {})}
        self.cwd = cwd
        self._child = None
        _started.append(self)

    def start(self):
        """Starts it, again if it ran before; the log is appended to."""
        assert not self.alive(), f"{self.name} runs already"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as output:
            self._child = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=output,
                                           stderr=output, env=self.env, cwd=self.cwd)
        return self

    @property
    def pid(self):
        return self._child.pid

    def alive(self):
        return self._child is not None and self._child.poll() is None

    def exit_code(self):
        """The code it ended with (negative: by that signal); None while it runs."""
        return None if self._child is None else self._child.poll()

    def wait_exit(self, deadline=20.0):
        wait_until(lambda: not self.alive(), deadline, f"the end of {self.name}")
        return self.exit_code()

    def signal(self, number):
        if self.alive():
            self._child.send_signal(number)

    def kill9(self):
        """Ends it at once, as a power failure would."""
        self.signal(signal.SIGKILL)
        if self._child is not None:
            self._child.wait()

    def freeze(self):
        """Stops it where it stands; its connections stay open and silent."""
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def stop(self, deadline=20.0):
        """Asks it to end, and returns its exit code."""
        self.thaw()
        self.signal(signal.SIGTERM)
        return self.wait_exit(deadline)

    def reap(self):
        """Makes sure it is gone, whatever state it is in."""
        if self.alive():
            self.thaw()
            self.kill9()

    def log_text(self):
        try:
            return self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def log_tail(self, lines=30):
        return "\n".join(self.log_text().splitlines()[-lines:])

    def log_entries(self):
        """The JSON lines of its log, as dicts with `id`, `msg`, `attr`, `s`, `c`, `ctx`."""
        for line in self.log_text().splitlines():
            if line.startswith("{"):
                try:
                    yield json.loads(line)
                except ValueError:
                    continue

    def logged(self, id_or_message):
        """The log entries of an id (int), or whose message contains a text."""
        if isinstance(id_or_message, int):
            return [e for e in self.log_entries() if e.get("id") == id_or_message]
        return [e for e in self.log_entries() if id_or_message in e.get("msg", "")]

    def wait_logged(self, id_or_message, deadline=20.0):
        return wait_until(lambda: self.logged(id_or_message), deadline,
                          f"{id_or_message!r} in the log of {self.name}",
                          unless=lambda: None if self.alive() else f"{self.name} ended")

    def resident_bytes(self):
        return psutil.Process(self.pid).memory_info().rss

    def cpu_seconds(self):
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system


def started_processes():
    return list(_started)


def reap_all(but=()):
    """Ends all that was started; `but`: what others still use."""
    for process in reversed(_started):
        if process not in but:
            process.reap()
    _started[:] = [process for process in _started if process in but]


def processes_below(folder):
    """Processes, whoever started them, whose command line names something in `folder`."""
    prefix = str(folder)
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        if process.pid != os.getpid() and any(
                prefix in word for word in process.info["cmdline"] or []):
            found.append(process)
    return found


def reap_below(folder):
    """Ends what a launcher started in a test's own folder and left there."""
    left = processes_below(folder)
    for process in left:
        try:
            process.resume()
            process.kill()
        except psutil.NoSuchProcess:
            pass
    psutil.wait_procs(left, timeout=10)
    return left

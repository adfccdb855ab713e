# SPDX-License-Identifier: Apache-2.0
"""A file system of a few megabytes that can be filled and made larger: a tmpfs in a mount namespace
of its own, so that nothing of it is left when its keeper ends, however the test ends."""

import functools
import os
import pathlib
import shutil
import subprocess

from lib.process import Process
from lib.wait import wait_until

# Root needs no user namespace, and some kernels refuse one.
UNSHARE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "-r", "--mount"]
ENTER = ["--mount"] if os.geteuid() == 0 else ["--user", "--preserve-credentials", "--mount"]


@functools.lru_cache(maxsize=None)
def reason_to_skip():
    """Why there can be no small disk here; an empty string when there can."""
    for program in ("unshare", "nsenter"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    probe = subprocess.run([*UNSHARE, "sh", "-c", "mount -t tmpfs -o size=1m none /mnt"],
                           capture_output=True, text=True, check=False)
    return "" if probe.returncode == 0 else f"no mount namespace here: {probe.stderr.strip()}"


class SmallDisk:
    """Mounted at `folder` for the processes that are put on it, and for nobody else."""

    def __init__(self, folder, megabytes):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        script = (f"mount -t tmpfs -o size={megabytes}m none '{self.folder}' && echo mounted && "
                  "exec sleep infinity")
        self.keeper = Process("the small disk", [*UNSHARE, "--propagation", "private", "sh", "-c",
                                                 script], self.folder.parent / "small-disk.log")
        self.keeper.start()
        wait_until(lambda: "mounted" in self.keeper.log_text(), 10, "the small disk",
                   unless=lambda: None if self.keeper.alive() else self.keeper.log_tail())

    def _enter(self):
        return ["nsenter", "--target", str(self.keeper.pid), *ENTER]

    def run(self, *command):
        """What a command prints that sees the disk."""
        return subprocess.run([*self._enter(), *map(str, command)], capture_output=True, text=True,
                              check=True).stdout

    def put(self, process):
        """Lets a process that is not started yet see the disk."""
        process.argv[:0] = self._enter()
        return process

    def resize(self, megabytes):
        self.run("mount", "-o", f"remount,size={megabytes}m", self.folder)

    def free_bytes(self):
        return int(self.run("df", "--output=avail", "-B1", self.folder).splitlines()[-1])

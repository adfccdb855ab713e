# SPDX-License-Identifier: Apache-2.0
"""The real clients tools/setup/clients.sh fetched: mongosh, the database tools, Node, mlaunch."""

import functools
import json
import os
import pathlib
import subprocess

from lib.wait import SLOWNESS

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SECONDS_MAX = 60


class ClientFailed(AssertionError):
    """A client ended with a code it should not end with; the message holds all it said."""


@functools.lru_cache(maxsize=None)
def _where(piece):
    found = subprocess.run([ROOT / "tools/setup/clients.sh", "--where", piece],
                           stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    if not os.path.isdir(found):
        raise RuntimeError(f"{piece} is not at {found}. Next step: make setup-test")
    return pathlib.Path(found)


def program(name):
    """The path of a client's program."""
    for piece in ("tools", "node", "python"):
        path = _where(piece) / "bin" / name
        if path.exists():
            return path
    raise RuntimeError(f"no client is called {name}")


def run(name, *arguments, stdin=None, seconds=SECONDS_MAX, code=0, env=None, cwd=None):
    """Runs a client to its end; returns its result, with stdout and stderr as text."""
    command = [str(program(name)), *map(str, arguments)]
    result = subprocess.run(command, input=stdin if stdin is not None else "", text=True,
                            capture_output=True, timeout=seconds * SLOWNESS, check=False, cwd=cwd,
                            env={**os.environ, "NO_COLOR": "1", **(env or {})})
    if code is not None and result.returncode != code:
        raise ClientFailed(f"{' '.join(command)}\nended with code {result.returncode}, not {code}\n"
                           f"{result.stdout}\n{result.stderr}")
    return result


def mongosh(uri, script, **more):
    """What mongosh prints when it evaluates `script`, as a program would be run."""
    return run("mongosh", uri, "--quiet", "--norc", "--eval", script, **more).stdout


def mongosh_json(uri, expression, **more):
    """The value of an expression, as canonical extended JSON read by Python."""
    return json.loads(mongosh(uri, f"print(EJSON.stringify({expression}))", **more))


def mongosh_session(uri, lines, **more):
    """What mongosh prints to someone who types `lines`."""
    return run("mongosh", uri, "--norc", stdin="\n".join(lines) + "\n", **more).stdout


def node(script, *arguments, **more):
    """Runs a JavaScript file of tests/node with the Node driver at hand."""
    where = _where("node")
    return run("node", ROOT / "tests/node" / script, *arguments,
               env={"NODE_PATH": str(where / "node_modules")}, **more)


def node_command(script, *arguments):
    """The same as a command and its environment, for a process that runs beside the test."""
    where = _where("node")
    return ([program("node"), ROOT / "tests/node" / script, *arguments],
            {"NODE_PATH": str(where / "node_modules")})

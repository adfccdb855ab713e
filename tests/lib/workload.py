# SPDX-License-Identifier: Apache-2.0
"""Writers that run while a test breaks things, and the books they keep.

Each writer inserts documents of increasing `n` and increments one counter document, with the
default write concern (majority) and retryable writes, as applications do.  Its books say what was
acknowledged, what failed and when; `check` compares them with what the database holds.
"""

import json
import subprocess
import threading
import time

from pymongo.errors import PyMongoError

from lib import clients
from lib.wait import wait_until

FAILURES_MAX = 10000


class Workload:
    """`make_client` gives each writer a client of its own."""

    def __init__(self, make_client, namespace=("work", "items"), writers=2):
        self._make_client = make_client
        self._database, self._collection = namespace
        self._stop = threading.Event()
        self._books = [{"inserted": [], "unsure": [], "increments": 0, "unsure_increments": 0,
                        "times": [], "errors": []} for _ in range(writers)]
        self._threads = [threading.Thread(target=self._write, args=(number, book), daemon=True)
                         for number, book in enumerate(self._books)]

    def _write(self, number, book):
        with self._make_client() as client:
            items = client[self._database][self._collection]
            counters = client[self._database]["counters"]
            n = 0
            while not self._stop.is_set() and len(book["errors"]) < FAILURES_MAX:
                n += 1
                key = f"{number}-{n}"
                try:
                    items.insert_one({"_id": key, "writer": number, "n": n})
                    book["inserted"].append(key)
                    book["times"].append(time.monotonic())
                except PyMongoError as error:
                    book["unsure"].append(key)
                    book["errors"].append(error)
                    continue
                try:
                    counters.update_one({"_id": number}, {"$inc": {"count": 1}}, upsert=True)
                    book["increments"] += 1
                except PyMongoError as error:
                    book["unsure_increments"] += 1
                    book["errors"].append(error)

    def start(self):
        for thread in self._threads:
            thread.start()
        self.wait_progress()
        return self

    def acknowledged(self):
        """How many inserts were acknowledged so far, in all."""
        return sum(len(book["inserted"]) for book in self._books)

    def wait_progress(self, more=20, deadline=30.0):
        """Waits until every writer has `more` further inserts acknowledged; returns the seconds the
        slowest of them took to its first."""
        start = time.monotonic()
        before = [len(book["inserted"]) for book in self._books]
        wait_until(lambda: all(len(book["inserted"]) >= old + more
                               for book, old in zip(self._books, before)),
                   deadline, f"{more} more acknowledged writes of every writer")
        return max(book["times"][old] - start for book, old in zip(self._books, before))

    def longest_gap(self):
        """The longest time any writer went without an acknowledgement."""
        return max((b - a for book in self._books
                    for a, b in zip(book["times"], book["times"][1:])), default=0.0)

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a writer hangs"
        return self

    def check(self, client):
        """No acknowledged write is lost, none is there twice, nothing is there nobody wrote."""
        items = client[self._database][self._collection]
        found = [document["_id"] for document in items.find({}, {"_id": 1})]
        held = set(found)
        assert len(held) == len(found), "a document is there twice"
        for number, book in enumerate(self._books):
            lost = set(book["inserted"]) - held
            assert not lost, f"{len(lost)} acknowledged inserts are lost: {sorted(lost)[:5]}"
            counter = client[self._database]["counters"].find_one({"_id": number}) or {"count": 0}
            least, most = book["increments"], book["increments"] + book["unsure_increments"]
            assert least <= counter["count"] <= most, (
                f"writer {number}: {least} increments acknowledged, {most - least} unsure, "
                f"{counter['count']} applied")
        known = {key for book in self._books for key in book["inserted"] + book["unsure"]}
        assert held <= known, f"nobody wrote {sorted(held - known)[:5]}"

    def errors(self):
        return [error for book in self._books for error in book["errors"]]


class NodeWorkload(Workload):
    """The same written by the Node driver: one process, one client, its writers side by side."""

    def __init__(self, uri, namespace=("work", "items"), writers=2):
        super().__init__(None, namespace, writers)
        command, env = clients.node_command("workload.js", uri, self._database, writers)
        self._process = subprocess.Popen([*map(str, command)], stdin=subprocess.PIPE, text=True,
                                         stdout=subprocess.PIPE, env={**clients.os.environ, **env})
        self._threads = [threading.Thread(target=self._read, daemon=True)]

    def _read(self):
        for line in self._process.stdout:
            told = json.loads(line)
            book = self._books[told["writer"]]
            if told["kind"] == "insert" and told["acknowledged"]:
                book["inserted"].append(told["key"])
                book["times"].append(time.monotonic())
            elif told["kind"] == "insert":
                book["unsure"].append(told["key"])
            else:
                book["increments" if told["acknowledged"] else "unsure_increments"] += 1
            if not told["acknowledged"]:
                book["errors"].append(told["error"])

    def stop(self):
        if not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            code = self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError("a Node writer hangs") from None
        finally:
            self._threads[0].join(10)
            self._process.stdout.close()
        assert code == 0, f"the Node writers ended with code {code}"
        return self

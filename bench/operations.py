# SPDX-License-Identifier: Apache-2.0
"""Server CPU a request costs, on a peer and on ours by turns (A B A B), with the same client.

Both run as a replica set of one member with journalling, and every write waits for majority, so
that an acknowledgement means the same.  CPU is user and system time of the server process.
"""

import random

import pymongo

from lib import replica_set as sets
from lib import server

DOCUMENTS = 10000
DOCUMENT_BYTES = 1024
ROUNDS = 2

# name -> (requests a round, the ratio to stay below, what one request does)
OPERATIONS = {
    "find by _id": (6000, 0.25, lambda c, r: c.find_one({"_id": r.randrange(DOCUMENTS)})),
    "index range of 100": (1000, 0.30, lambda c, r: list(
        c.find({"n": {"$gte": (low := r.randrange(DOCUMENTS - 100)), "$lt": low + 100}}))),
    "insert one": (3000, 0.40, lambda c, r: c.database.inserted.insert_one(
        {"n": r.randrange(DOCUMENTS), "text": TEXT})),
    "update by _id": (3000, 0.40, lambda c, r: c.update_one(
        {"_id": r.randrange(DOCUMENTS)}, {"$inc": {"count": 1}})),
    "bulk insert of 1,000": (60, 0.50, lambda c, r: c.database.bulk.insert_many(
        [{"n": i, "text": TEXT} for i in range(1000)])),
    "full scan": (100, 0.40, lambda c, r: c.count_documents({"text": "no such text"})),
}
TEXT = "x" * (DOCUMENT_BYTES - 60)


class Side:
    """One of the two: a started member with the data in it."""

    def __init__(self, name, binaries, folder):
        self.name = name
        server.BIN = binaries
        self.set = sets.ReplicaSet(folder, 1, name=f"bench-{name}").start().initiate()
        self.member = self.set.members[0]
        self.collection = self.member.client.bench.documents
        self.collection.insert_many(
            {"_id": i, "n": i, "count": 0, "text": TEXT} for i in range(DOCUMENTS))
        self.collection.create_index("n")

    def cpu_microseconds(self, operation, requests, seed):
        """CPU of the server a request, after a warm-up of a tenth."""
        source = random.Random(seed)
        for _ in range(max(1, requests // 10)):
            operation(self.collection, source)
        before = self.member.cpu_seconds()
        for _ in range(requests):
            operation(self.collection, source)
        spent = self.member.cpu_seconds() - before
        for name in ("inserted", "bulk"):
            self.collection.database[name].drop()
        return spent * 1e6 / requests

    def close(self):
        self.set.close()


def measure(ours, peer, folder):
    """Yields (name, microseconds of ours, of the peer, ratio, limit) an operation."""
    sides = [Side("peer", peer, f"{folder}/peer"), Side("ours", ours, f"{folder}/ours")]
    try:
        for name, (requests, limit, operation) in OPERATIONS.items():
            spent = {side.name: [] for side in sides}
            for turn in range(ROUNDS):
                for side in sides:
                    spent[side.name].append(side.cpu_microseconds(operation, requests, turn))
            mine, theirs = min(spent["ours"]), min(spent["peer"])
            yield name, mine, theirs, mine / theirs, limit
    finally:
        for side in sides:
            side.close()


def router_microseconds(cluster, requests=5000):
    """CPU the router spends on a point read it sends to one shard."""
    admin = cluster.client.admin
    admin.command("shardCollection", "bench.documents", key={"_id": 1})
    cluster.client.bench.documents.insert_many({"_id": i, "text": TEXT} for i in range(1000))
    host = cluster.uri.split("//", 1)[1].split("/", 1)[0].split(",")[0]
    router = cluster.process_at(int(host.rsplit(":", 1)[1]))
    with pymongo.MongoClient(f"mongodb://{host}/", directConnection=True) as client:
        documents = client.bench.documents
        source = random.Random(1)
        for _ in range(500):
            documents.find_one({"_id": source.randrange(1000)})
        before = sum(router.cpu_times()[:2])
        for _ in range(requests):
            documents.find_one({"_id": source.randrange(1000)})
        return (sum(router.cpu_times()[:2]) - before) * 1e6 / requests

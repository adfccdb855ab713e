# SPDX-License-Identifier: Apache-2.0
"""Index builds while others write: nobody waits for them, every document is in them, and a build
that ends early leaves nothing behind."""

import threading

import pymongo
import pytest

from lib.wait import wait_until

INDEX_BUILD_ABORTED = 276
INTERRUPTED = 11601
DUPLICATE_KEY = 11000
DOCUMENTS = 20_000


def fill(collection, count=DOCUMENTS):
    """Documents that take a while to index: each has thirty keys."""
    for first in range(0, count, 5000):
        collection.insert_many([{"_id": i, "a": i % 97, "u": i, "words": [f"w{i}-{k}"
                                                                         for k in range(30)]}
                                for i in range(first, min(first + 5000, count))])


class InBackground(threading.Thread):
    """A call whose result or error is there after join()."""

    def __init__(self, call):
        super().__init__(daemon=True)
        self._call = call
        self.result = self.error = None
        self.start()

    def run(self):
        try:
            self.result = self._call()
        except pymongo.errors.PyMongoError as error:
            self.error = error


def running_build(client):
    """The currentOp entry of a build that has looked at some documents and not at all."""
    for operation in client.admin.aggregate([{"$currentOp": {}}]):
        progress = operation.get("progress")
        if operation.get("command", {}).get("createIndexes") and progress and progress["done"]:
            return operation
    return None


def wait_for_build(client, thread):
    return wait_until(lambda: running_build(client), 60, "an index build in currentOp",
                      unless=lambda: None if thread.is_alive() else f"it ended: {thread.error!r}")


def words(collection, **options):
    return collection.create_index("words", name="words", **options)


def valid(collection):
    report = collection.database.command("validate", collection.name, full=True)
    assert report["valid"], report
    return report


def test_writers_go_on_beside_a_build_and_all_of_it_is_indexed(replica_set):
    client = replica_set.client
    items = client.shop.items
    fill(items)
    build = InBackground(lambda: words(items))
    operation = wait_for_build(client, build)
    assert "Index Build" in operation["msg"]
    written = 0
    while build.is_alive():
        # Majority writes: a commit point that waited for the build would stop this.
        items.insert_one({"_id": f"new-{written}", "words": [f"new-{written}", "all"]})
        items.update_one({"_id": written}, {"$set": {"words": ["changed"]}})
        items.delete_one({"_id": DOCUMENTS - 1 - written})
        assert items.find_one({"_id": f"new-{written}"})
        written += 1
    build.join()
    assert build.error is None, build.error
    assert written > 3
    for member in replica_set.members:
        replica_set.wait_replicated()
        here = member.client.get_database("shop", read_preference=pymongo.ReadPreference.NEAREST)
        assert here.items.count_documents({"words": "all"}, hint="words") == written
        assert here.items.count_documents({"words": "changed"}, hint="words") == written
        assert here.items.find_one({"words": f"w{DOCUMENTS - 1}-0"}, hint="words") is None
        valid(here.items)
    replica_set.assert_equal_data()


def active_builds(member):
    return member.command("serverStatus")["activeIndexBuilds"]["total"]


def has_words_everywhere(replica_set):
    return all("words" in member.client.get_database(
        "shop", read_preference=pymongo.ReadPreference.NEAREST).items.index_information()
        for member in replica_set.members)


def assert_whole(replica_set):
    """The index is there on all members, complete and the same."""
    replica_set.wait_replicated()
    assert has_words_everywhere(replica_set)
    for member in replica_set.members:
        valid(member.client.get_database(
            "shop", read_preference=pymongo.ReadPreference.NEAREST).items)
        assert active_builds(member) == 0
    replica_set.assert_equal_data()
    assert replica_set.client.config["system.indexBuilds"].count_documents({}) == 0


def test_a_build_survives_a_secondary_and_its_primary(replica_set):
    items = replica_set.client.shop.items
    fill(items)
    build = InBackground(lambda: words(items))
    wait_for_build(replica_set.client, build)
    secondary = replica_set.secondaries()[0]
    secondary.kill9()
    secondary.start()
    build.join()
    assert build.error is None, build.error
    assert_whole(replica_set)

    # Again, and now the primary dies while others write. It is one of those the build waits for;
    # while a secondary stands still the build cannot have ended before.
    items.drop_index("words")
    primary = replica_set.primary()
    secondary, other = replica_set.secondaries()
    secondary.freeze()
    build = InBackground(lambda: words(items))
    wait_for_build(replica_set.client, build)
    wait_until(lambda: active_builds(other) == 1, 60, "the build on the next primary")
    primary.kill9()
    build.join()
    secondary.thaw()
    assert isinstance(build.error, pymongo.errors.ConnectionFailure), build.error
    new = replica_set.primary()
    assert active_builds(new) == 1
    for i in range(50):
        items.insert_one({"_id": f"meanwhile-{i}", "words": ["meanwhile", str(i)]})
        items.update_one({"_id": i}, {"$set": {"words": ["changed"]}})
        items.delete_one({"_id": 1000 + i})
    again = InBackground(lambda: words(items))
    primary.start()
    again.join()
    assert again.error is None, again.error
    assert_whole(replica_set)
    assert items.count_documents({"words": "meanwhile"}, hint="words") == 50
    starts = new.client.local["oplog.rs"].count_documents({"o.startIndexBuild": "items"})
    assert starts == 2, "the second createIndexes joined the build that was there"


def test_a_stepdown_ends_the_wait_and_not_the_build(replica_set):
    items = replica_set.client.shop.items
    fill(items)
    primary = replica_set.primary()
    away, other = replica_set.secondaries()
    away.kill9()  # The build waits for it.
    build = InBackground(lambda: words(items))
    wait_for_build(replica_set.client, build)
    wait_until(lambda: active_builds(other) == 1, 60, "the build on the next primary")
    primary.command("replSetStepDown", 5, force=True)
    build.join()
    away.start()
    assert isinstance(build.error, pymongo.errors.NotPrimaryError), build.error
    assert build.error.details["code"] in (10107, 11602, 189), build.error
    replica_set.primary()
    wait_until(lambda: has_words_everywhere(replica_set), 120, "the index on every member")
    assert_whole(replica_set)


def test_commit_quorums(replica_set):
    client = replica_set.client
    items = client.shop.items
    fill(items, 200)

    def create(quorum, name="words"):
        return client.shop.command("createIndexes", "items", commitQuorum=quorum,
                                   indexes=[{"key": {"words": 1}, "name": name}])

    for refused, code in ((4, 278), ("nowhere", 79), (-1, 9), (51, 9), (True, 14)):
        with pytest.raises(pymongo.errors.OperationFailure) as failure:
            create(refused)
        assert failure.value.code == code, refused
    for quorum in (0, 1, 3, "majority", "votingMembers"):
        assert create(quorum)["commitQuorum"] == quorum
        items.drop_index("words")

    # With a member away a majority is enough where it is asked for, and all voters are waited for
    # where not, until somebody changes his mind or gives up.
    away = replica_set.secondaries()[0]
    away.kill9()
    create("majority")
    items.drop_index("words")
    build = InBackground(lambda: create("votingMembers"))
    records = client.config["system.indexBuilds"]
    wait_until(lambda: len((records.find_one() or {}).get("commitReadyMembers", [])) == 2, 60,
               "two votes", unless=lambda: None if build.is_alive() else f"{build.error!r}")
    assert "words" not in items.index_information()
    client.shop.command("setIndexCommitQuorum", "items", indexNames=["words"],
                        commitQuorum="majority")
    build.join()
    assert build.error is None, build.error
    with pytest.raises(pymongo.errors.OperationFailure) as failure:
        client.shop.command("setIndexCommitQuorum", "items", indexNames=["words"], commitQuorum=1)
    assert failure.value.code == 27
    items.drop_index("words")
    with pytest.raises(pymongo.errors.ExecutionTimeout):
        client.shop.command("createIndexes", "items", maxTimeMS=300,
                            indexes=[{"key": {"words": 1}, "name": "words"}])
    away.start()
    replica_set.wait_replicated()
    assert list(items.index_information()) == ["_id_"]
    assert records.count_documents({}) == 0
    words(items)
    assert_whole(replica_set)


def test_kill_9_in_the_middle_leaves_no_trace(standalone):
    items = standalone.client.get_database("shop", write_concern=pymongo.WriteConcern(1, j=True)
                                           ).items
    fill(items)
    tables = len(list(standalone.dbpath.glob("index-*.wt")))
    build = InBackground(lambda: words(items))
    wait_for_build(standalone.client, build)
    items.insert_one({"_id": "meanwhile", "words": ["meanwhile"]})
    standalone.kill9()
    build.join()
    assert build.error is not None
    standalone.start()
    assert list(items.index_information()) == ["_id_"]
    assert items.find_one({"_id": "meanwhile"})
    wait_until(lambda: len(list(standalone.dbpath.glob("index-*.wt"))) == tables, 10,
               "the unfinished index's table to go")
    valid(items)
    words(items)
    assert items.count_documents({"words": "meanwhile"}, hint="words") == 1
    valid(items)


def test_a_unique_build_meets_duplicates(standalone):
    items = standalone.client.shop.items
    fill(items, 3000)
    items.insert_one({"_id": "dup", "u": 7})
    with pytest.raises(pymongo.errors.DuplicateKeyError) as refused:
        items.create_index("u", unique=True)
    assert refused.value.code == DUPLICATE_KEY
    assert refused.value.details["keyPattern"] == {"u": 1}
    assert refused.value.details["keyValue"] == {"u": 7}
    assert "Index build failed" in str(refused.value)
    items.delete_one({"_id": "dup"})
    items.create_index("u", unique=True)
    with pytest.raises(pymongo.errors.DuplicateKeyError):
        items.insert_one({"u": 8})


def test_kill_op_and_drop_indexes_abort_a_build(standalone):
    client = standalone.client
    items = client.shop.items
    fill(items)
    build = InBackground(lambda: words(items))
    client.admin.command("killOp", op=wait_for_build(client, build)["opid"])
    build.join()
    assert build.error.code == INTERRUPTED
    for index in ("words", "*"):
        build = InBackground(lambda: words(items))
        wait_for_build(client, build)
        client.shop.command("dropIndexes", "items", index=index)
        build.join()
        assert build.error.code == INDEX_BUILD_ABORTED
        assert list(items.index_information()) == ["_id_"]
    build = InBackground(lambda: words(items))
    wait_for_build(client, build)
    with pytest.raises(pymongo.errors.OperationFailure) as refused:
        items.rename("others")
    assert refused.value.code == 12587
    items.drop()
    build.join()
    assert build.error.code == INDEX_BUILD_ABORTED


def test_commit_quorum_is_for_sets(standalone):
    with pytest.raises(pymongo.errors.OperationFailure) as refused:
        standalone.client.shop.command("createIndexes", "items", commitQuorum=1,
                                       indexes=[{"key": {"a": 1}, "name": "a"}])
    assert refused.value.code == 2


def test_two_builds_of_one_index_are_one(standalone):
    items = standalone.client.shop.items
    fill(items)
    first = InBackground(lambda: words(items))
    wait_for_build(standalone.client, first)
    second = InBackground(lambda: words(items))
    first.join()
    second.join()
    assert first.error is None and second.error is None
    assert sorted(items.index_information()) == ["_id_", "words"]
    valid(items)

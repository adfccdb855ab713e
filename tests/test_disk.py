# SPDX-License-Identifier: Apache-2.0
"""A full disk and damaged files: what a member says, and that nothing acknowledged is lost."""

import os

import pymongo
import pytest

from lib import server
from lib.ports import free_port
from lib.small_disk import SmallDisk, reason_to_skip
from lib.wait import wait_until

OUT_OF_DISK_SPACE = 14031
EXIT_PANIC = 14
DOCUMENT_BYTES = 64 * 1024

# A disk can only be filled safely where a mount namespace may be made: not in every container.
# The reason names what is missing.
needs_small_disk = pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip() or "-")


@pytest.fixture
def on_small_disk(folder):
    """on_small_disk(megabytes, *flags): a member, not started, and the disk its data is on."""
    def make(megabytes, *flags):
        where = f"{folder}/small"
        disk = SmallDisk(f"{where}/data", megabytes)
        made = server.Server("mongod", where, "--syncdelay", "1", *flags, port=free_port())
        return disk.put(made), disk
    return make


def fill(collection, first=0):
    """Inserts until that fails; returns the acknowledged ids and the failure."""
    acknowledged = []
    for i in range(first, first + 1_000_000):
        try:
            collection.insert_one({"_id": i, "noise": os.urandom(DOCUMENT_BYTES)})
        except pymongo.errors.PyMongoError as failure:
            return acknowledged, failure
        acknowledged.append(i)
    raise AssertionError("the disk never filled")


def says_the_next_step(member):
    return any("Free disk space" in entry["msg"] or "free disk space" in entry["msg"].lower()
               for entry in member.log_entries() if entry["s"] in ("F", "E"))


def refused_or_ended(member, failure):
    """The failure is an error that names the disk, or the end of the process that says why."""
    if getattr(failure, "code", None) == OUT_OF_DISK_SPACE:
        return True
    assert isinstance(failure, pymongo.errors.AutoReconnect), failure
    assert member.wait_exit() == EXIT_PANIC
    assert says_the_next_step(member), member.log_tail()
    return True


def answers_at_all(member):
    """Whether it gets to answering, rather than to its end."""
    def decided():
        if not member.alive():
            return "ended"
        with server.connect(member.port, serverSelectionTimeoutMS=300) as probe:
            return "answers" if probe.admin.command("ping") else None
    return wait_until(decided, 30, "an answer or an end") == "answers"


def all_there(collection, acknowledged):
    found = {document["_id"] for document in collection.find({}, {"_id": 1})}
    assert not set(acknowledged) - found
    report = collection.database.command("validate", collection.name, full=True)
    assert report["valid"], report
    assert collection.estimated_document_count() == len(found)


@needs_small_disk
def test_a_full_disk_loses_nothing_that_was_acknowledged(on_small_disk):
    member, disk = on_small_disk(64)
    member.start()
    journalled = member.client.get_database("tp", write_concern=pymongo.WriteConcern(1, j=True))
    acknowledged, failure = fill(journalled.books)
    assert acknowledged
    assert refused_or_ended(member, failure)
    member.kill9()

    # While the disk is full it either opens or says what to do.
    if not answers_at_all(member.start(ready=None)):
        assert member.exit_code() in (EXIT_PANIC, 100)
        assert says_the_next_step(member), member.log_tail()
    member.kill9()

    disk.resize(256)
    member.start()
    all_there(journalled.books, acknowledged)
    journalled.books.insert_one({"_id": -1})


@needs_small_disk
def test_a_full_disk_of_a_replica_set_member(on_small_disk):
    member, disk = on_small_disk(96, "--replSet", "rs", "--oplogSize", "50")
    member.start()
    member.command("replSetInitiate", {"_id": "rs", "members": [
        {"_id": 0, "host": member.address}]})
    wait_until(lambda: member.command("hello")["isWritablePrimary"], 20, "a primary")
    books = member.client.tp.books  # Majority writes, the default.
    acknowledged, failure = fill(books)
    assert acknowledged
    assert refused_or_ended(member, failure)
    member.kill9()
    disk.resize(384)
    member.start()
    wait_until(lambda: member.command("hello")["isWritablePrimary"], 30, "a primary again")
    all_there(books, acknowledged)
    books.insert_one({"_id": -1})


@needs_small_disk
def test_an_index_build_asks_for_room_before_it_takes_it(on_small_disk):
    member, disk = on_small_disk(128)
    member.start()
    books = member.client.tp.books
    books.insert_many([{"_id": i, "words": [os.urandom(40) for _ in range(20)]}
                       for i in range(2000)])
    with pytest.raises(pymongo.errors.OperationFailure) as refused:
        books.create_index("words")
    assert refused.value.code == OUT_OF_DISK_SPACE
    assert "available disk space of" in str(refused.value)
    assert list(books.index_information()) == ["_id_"]
    books.insert_one({"_id": -1})
    member.command({"setParameter": 1, "indexBuildMinAvailableDiskSpaceMB": 10})
    books.create_index("words")
    assert disk.free_bytes() > 0
    all_there(books, range(2000))


@needs_small_disk
def test_an_index_build_that_fills_the_disk(on_small_disk):
    member, disk = on_small_disk(64, "--setParameter", "indexBuildMinAvailableDiskSpaceMB=0",
                                 "--wiredTigerCacheSizeGB", "0.25")
    member.start()
    journalled = member.client.get_database("tp", write_concern=pymongo.WriteConcern(1, j=True))
    books = journalled.books
    size = 3000
    books.insert_many([{"_id": i, "words": [os.urandom(100).hex() for _ in range(20)]}
                       for i in range(size)])
    member.command("fsync")
    disk.run("fallocate", "-l", disk.free_bytes() - 8_000_000, disk.folder / "ballast")
    failure = None
    for name in ("words", "again", "third"):
        try:
            books.create_index([("words", 1), (name, 1)], name=name)
        except pymongo.errors.PyMongoError as error:
            failure = error
            break
    assert failure is not None
    assert refused_or_ended(member, failure)
    member.kill9()
    disk.resize(512)
    member.start()
    all_there(books, range(size))
    books.create_index("words", name="words")
    all_there(books, range(size))


# ---- Damaged files ---------------------------------------------------------------------------


def newest_journal_file(member):
    return max((member.dbpath / "journal").glob("WiredTigerLog.*"))


def used_bytes(path):
    """The length of a journal file up to its zeros."""
    return len(path.read_bytes().rstrip(b"\0"))


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
@pytest.mark.parametrize("flags", [(), ("--replSet", "rs")], ids=["standalone", "member"])
def test_a_damaged_journal_tail_costs_what_is_behind_the_damage(make_server, damage, flags):
    member = make_server("mongod", *flags).start()
    if flags:
        member.command("replSetInitiate", {"_id": "rs", "members": [
            {"_id": 0, "host": member.address}]})
    wait_until(lambda: member.command("hello")["isWritablePrimary"], 20, "a primary")
    books = member.client.get_database("tp", write_concern=pymongo.WriteConcern(1, j=True)).books
    for i in range(300):
        books.insert_one({"_id": i, "noise": os.urandom(300)})
    journal = newest_journal_file(member)
    before = used_bytes(journal)
    for i in range(300, 400):
        books.insert_one({"_id": i, "noise": os.urandom(300)})
    member.kill9()
    assert newest_journal_file(member) == journal
    if damage == "truncated":
        os.truncate(journal, before + 1000)
    else:
        with open(journal, "r+b") as file:
            file.seek(before + 1000)
            file.write(os.urandom(64))
    member.start()
    wait_until(lambda: member.command("hello")["isWritablePrimary"], 30, "a primary again")
    assert member.logged(9001004)[0]["attr"]["file"] == str(journal)
    found = sorted(document["_id"] for document in books.find({}, {"_id": 1}))
    assert found[:300] == list(range(300))  # Acknowledged before the damaged place.
    assert found == list(range(len(found)))  # And no holes.
    books.insert_one({"_id": "after"})
    assert member.client.tp.command("validate", "books")["valid"]


def ends_at_start(member, code, *texts):
    member.start(ready=None)
    assert member.wait_exit() == code
    for text in texts:
        assert text in member.log_text(), member.log_tail()


def test_a_directory_of_another_role_or_version_is_refused_and_left_alone(make_server):
    member = make_server("mongod", "--configsvr", "--replSet", "cfg").start()
    member.stop()
    marker = member.dbpath / "tessera.json"
    before = marker.read_bytes()
    shard = make_server("mongod", "--shardsvr", "--replSet", "s1")
    shard.argv[shard.argv.index(shard.dbpath.as_posix())] = str(member.dbpath)
    ends_at_start(shard, 62, "belongs to a config server", "choose another --dbpath")
    assert marker.read_bytes() == before
    marker.write_text('{"formatVersion": 99, "role": "config"}')
    ends_at_start(member, 62, "format version 99", "use the server that wrote it")
    marker.write_bytes(before)
    member.start()
    member.stop()


@pytest.mark.parametrize("text", ["", '{"formatVersion": 1, "ro', "\0" * 40])
def test_a_half_written_marker_is_named_with_the_next_step(make_server, text):
    member = make_server("mongod").start()
    member.stop()
    marker = member.dbpath / "tessera.json"
    before = marker.read_bytes()
    marker.write_text(text)
    ends_at_start(member, 62, "tessera.json", "Restore it")
    marker.write_bytes(before)
    member.start()
    assert member.command("ping")["ok"] == 1


@pytest.mark.parametrize("text", ["", "12", "\0\0\0\0", "not a number at all" * 100])
def test_whatever_a_dead_process_left_in_the_lock_file_it_opens(make_server, text):
    member = make_server("mongod").start()
    member.client.tp.books.insert_one({"_id": 1})
    member.stop()
    (member.dbpath / "mongod.lock").write_text(text)
    (member.dbpath / "tessera.json.new").write_text("{")
    member.start()
    assert member.client.tp.books.count_documents({}) == 1
    assert bool(member.logged(22271)) == bool(text)


def test_damaged_metadata_is_refused_with_the_next_step(make_server):
    member = make_server("mongod").start()
    member.client.tp.books.insert_one({"_id": 1})
    member.stop()
    turtle = member.dbpath / "WiredTiger.turtle"
    whole = turtle.read_bytes()
    turtle.write_bytes(whole[: len(whole) // 2])
    ends_at_start(member, 100, "cannot be opened", "restore a backup")
    turtle.write_bytes(whole)
    member.start()
    assert member.client.tp.books.count_documents({}) == 1

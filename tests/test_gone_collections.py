# SPDX-License-Identifier: Apache-2.0
"""What writes to many documents in a row, and the TTL monitor, ends with its collection: another
one that gets the name meanwhile keeps its documents."""

import datetime
import threading

import pytest
from pymongo.errors import OperationFailure

from lib.wait import wait_until

DOCUMENTS = 20_000
QUERY_PLAN_KILLED = 175
LONG_AGO = datetime.datetime(2020, 1, 1)


@pytest.fixture
def db(standalone):
    yield standalone.client.gone
    standalone.client.drop_database("gone")


def fill(db, name):
    db[name].insert_many([{"_id": i, "when": LONG_AGO, "n": 0} for i in range(DOCUMENTS)])


def has_begun(db):
    """Documents are written in the order they were inserted in."""
    return db.c.find_one({"_id": 0, "n": 0}) is None


def overtake(db, write, change):
    """The codes of the errors of `write`, which `change` meets under way or finds over."""
    failures = []

    def run():
        try:
            write(db.c)
        except OperationFailure as failure:
            failures.append(failure.code)

    running = threading.Thread(target=run)
    running.start()
    wait_until(lambda: has_begun(db), 60, "the write to begin")
    change()
    running.join()
    return failures


def passes(db):
    return db.command("serverStatus")["metrics"]["ttl"]["passes"]


@pytest.mark.parametrize("write", [
    lambda c: c.delete_many({"n": 0}),
    lambda c: c.update_many({"n": 0}, {"$set": {"n": 1}}),
], ids=["delete", "update"])
def test_a_write_to_many_leaves_what_took_the_name_alone(db, write):
    def overtaken():
        for name in ("c", "fresh"):
            db.drop_collection(name)
            fill(db, name)
        failures = overtake(db, write, lambda: db.fresh.rename("c", dropTarget=True))
        assert db.c.count_documents({"n": 0}) == DOCUMENTS
        return failures == [QUERY_PLAN_KILLED]

    wait_until(overtaken, 120, "a rename while the write runs")


def test_a_dropped_collection_ends_a_write_to_many(db):
    def overtaken():
        fill(db, "c")
        return overtake(db, lambda c: c.delete_many({}), db.c.drop) == [QUERY_PLAN_KILLED]

    wait_until(overtaken, 120, "a drop while the write runs")


def test_the_ttl_monitor_leaves_what_took_the_name_alone(make_server):
    server = make_server("mongod", "--setParameter", "ttlMonitorSleepSecs=1").start()
    db = server.client.gone

    def overtaken():
        for name in ("c", "fresh"):
            db.drop_collection(name)
            fill(db, name)
        db.c.create_index("when", expireAfterSeconds=60)
        wait_until(lambda: has_begun(db), 60, "documents to expire")
        was_under_way = db.c.count_documents({}) > 0
        db.fresh.rename("c", dropTarget=True)
        before = passes(db)
        wait_until(lambda: passes(db) >= before + 2, 60, "the pass to end")
        assert db.c.count_documents({}) == DOCUMENTS
        return was_under_way

    wait_until(overtaken, 120, "a rename while documents expire")


def test_the_ttl_monitor_stops_when_its_index_goes(make_server):
    server = make_server("mongod", "--setParameter", "ttlMonitorSleepSecs=1").start()
    db = server.client.gone

    def overtaken():
        db.drop_collection("c")
        fill(db, "c")
        db.c.create_index("when", expireAfterSeconds=60)
        wait_until(lambda: has_begun(db), 60, "documents to expire")
        db.c.drop_index("when_1")
        left = db.c.count_documents({})
        before = passes(db)
        wait_until(lambda: passes(db) >= before + 2, 60, "the pass to end")
        assert db.c.count_documents({}) == left
        return left > 0

    wait_until(overtaken, 120, "an index dropped while documents expire")

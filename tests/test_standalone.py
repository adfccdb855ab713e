# SPDX-License-Identifier: Apache-2.0
"""One member: real clients, its log, its signals, its exit codes."""

import os
import signal
import socket
import struct

import pymongo
import pytest

from lib import clients, server
from lib.ports import free_port
from lib.wait import wait_until

BOOKS = [{"_id": i, "title": f"Book {i}", "pages": i * 10} for i in range(200)]


def test_pymongo_writes_and_reads(standalone):
    books = standalone.client.tp.books
    assert len(books.insert_many(BOOKS).inserted_ids) == 200
    assert books.find_one({"_id": 7})["title"] == "Book 7"
    assert books.count_documents({"pages": {"$gte": 1000}}) == 100
    assert books.update_many({"pages": {"$lt": 100}}, {"$inc": {"pages": 1}}).modified_count == 10
    assert books.delete_one({"_id": 0}).deleted_count == 1
    assert [d["_id"] for d in books.find().sort("_id", -1).limit(3)] == [199, 198, 197]


def test_a_result_larger_than_a_document_is_an_error_of_its_query_alone(standalone):
    large = standalone.client.tp.large
    large.insert_one({"_id": 1, "big": "x" * 9_000_000})
    for fields in ({"a": "$big", "b": "$big"}, {f"f{i}": "$big" for i in range(8)}):
        stages = [{"$project": fields}]
        for query in (lambda f=fields: large.find({}, f), lambda s=stages: large.aggregate(s),
                      lambda s=stages: large.aggregate(s, batchSize=0)):
            with pytest.raises(pymongo.errors.OperationFailure) as raised:
                list(query())
            assert raised.value.code == 10334
    # Larger than any answer in between is no error.
    grown = [{"$project": {f"f{i}": "$big" for i in range(8)}}, {"$project": {"f1": 1}}]
    assert len(list(large.aggregate(grown))) == 1
    # Nor is there any bound on how often a value is repeated but an error.
    with pytest.raises(pymongo.errors.OperationFailure) as raised:
        list(large.aggregate([{"$project": {f"f{i}": "$big" for i in range(500)}}]))
    assert raised.value.code == 146


def test_mongosh_reads_what_pymongo_wrote(standalone):
    standalone.client.tp.books.insert_many(BOOKS)
    said = clients.mongosh_session(standalone.uri, ["use tp", "db.books.findOne()"])
    assert "switched to db tp" in said
    assert "_id: 0, title: 'Book 0', pages: 0" in said
    assert clients.mongosh_json(standalone.uri, "db.getSiblingDB('tp').books.countDocuments()") \
        in (200, {"$numberInt": "200"})


def test_the_tools_carry_a_collection_out_and_in(standalone, folder):
    standalone.client.tp.books.insert_many(BOOKS)
    standalone.client.tp.books.create_index([("pages", -1)], name="by_pages")
    where = ("--host", "127.0.0.1", "--port", standalone.port)
    out = f"{folder}/books.json"
    clients.run("mongoexport", *where, "--db", "tp", "--collection", "books", "--out", out)
    clients.run("mongoimport", *where, "--db", "tp2", "--collection", "books", "--file", out)
    assert standalone.client.tp2.books.count_documents({}) == 200
    clients.run("mongodump", *where, "--db", "tp", "--out", f"{folder}/dump")
    standalone.client.drop_database("tp")
    clients.run("mongorestore", *where, f"{folder}/dump")
    assert standalone.client.tp.books.count_documents({}) == 200
    assert "by_pages" in standalone.client.tp.books.index_information()


def test_the_node_driver_writes_and_reads(standalone):
    assert "node: all is well" in clients.node("crud.js", standalone.uri).stdout


def test_kill_9_loses_nothing_that_was_journalled(standalone):
    books = standalone.client.get_database(
        "tp", write_concern=server.pymongo.WriteConcern(w=1, j=True)).books
    for i in range(50):
        books.insert_one({"_id": i})
    standalone.kill9()
    standalone.start()
    assert books.count_documents({}) == 50


def test_sigterm_ends_it_with_code_0(standalone):
    standalone.client.tp.books.insert_one({"_id": 1})
    assert standalone.stop() == 0
    standalone.start()
    assert standalone.client.tp.books.count_documents({}) == 1


def test_the_shutdown_command_ends_it_with_code_0(standalone):
    with pytest.raises(server.pymongo.errors.AutoReconnect):
        standalone.command("shutdown")
    assert standalone.wait_exit() == 0


def test_it_says_in_its_log_where_it_listens(standalone):
    entry = standalone.wait_logged("Waiting for connections")[0]
    assert entry["attr"]["port"] == standalone.port
    assert entry["c"] == "NETWORK"
    assert entry["s"] == "I"


def test_a_taken_port_is_code_48(standalone, make_server):
    second = make_server("mongod", port=standalone.port).start(ready=None)
    assert second.wait_exit() == 48


def test_a_data_directory_serves_one_process(standalone, make_server):
    second = make_server("mongod")
    second.argv[second.argv.index("--dbpath") + 1] = str(standalone.dbpath)
    second.start(ready=None)
    assert second.wait_exit() == 100
    assert standalone.command("ping")["ok"] == 1


def test_an_unknown_flag_is_refused(make_server):
    wrong = make_server("mongod", "--noSuchFlag").start(ready=None)
    assert wrong.wait_exit() == 2
    assert "noSuchFlag" in wrong.log_text()


@pytest.mark.parametrize("bytes_sent", [
    b"GET / HTTP/1.1\r\n\r\n",
    struct.pack("<iiii", 15, 1, 0, 2013),
    struct.pack("<iiii", 48_000_001, 1, 0, 2013),
    struct.pack("<iiiiI", 21, 1, 0, 2013, 0) + b"\x09",
    struct.pack("<iiiiIB", 26, 1, 0, 2013, 0, 0) + struct.pack("<i", 99) + b"\x00",
    os.urandom(256),
], ids=["http", "short", "long", "section", "document", "noise"])
def test_malformed_bytes_close_their_connection_and_no_other(standalone, bytes_sent):
    standalone.command("ping")
    with socket.create_connection(("127.0.0.1", standalone.port), timeout=10) as stranger:
        stranger.sendall(bytes_sent)
        stranger.shutdown(socket.SHUT_WR)
        while True:
            try:
                if not stranger.recv(4096):
                    break
            except ConnectionResetError:
                break
    assert standalone.command("ping")["ok"] == 1
    assert standalone.alive()


def test_a_frozen_server_is_itself_again_when_thawed(standalone):
    standalone.freeze()
    with server.connect(standalone.port, socketTimeoutMS=300, serverSelectionTimeoutMS=600) as soon:
        with pytest.raises(server.pymongo.errors.PyMongoError):
            soon.admin.command("ping")
    standalone.thaw()
    standalone.wait_ready()


def test_ctrl_c_ends_it(make_server):
    one = make_server("mongod").start()
    one.signal(signal.SIGINT)
    assert one.wait_exit() == 0
    wait_until(lambda: not os.path.exists(f"/tmp/mongodb-{one.port}.sock"), 5, "the socket's end")
    assert free_port() != one.port


def test_list_indexes_refuses_what_it_does_not_show(standalone):
    standalone.client.test.items.insert_one({})
    with pytest.raises(pymongo.errors.OperationFailure) as failure:
        standalone.client.test.command("listIndexes", "items", includeIndexBuildInfo=True)
    assert failure.value.code == 115

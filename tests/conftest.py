# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the end-to-end tests.  Whatever a test starts through them ends with it, and a failed
test shows the last log lines of all it started."""

import shutil
import tempfile
import uuid

import pytest

from lib import process, server
from lib.cluster import Cluster
from lib.replica_set import ReplicaSet

_clusters = []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if not report.failed:
        return
    for started in process.started_processes():
        state = "running" if started.alive() else f"ended with code {started.exit_code()}"
        report.sections.append((f"{started.name} ({state}), {started.log}", started.log_tail()))
    for cluster in _clusters:
        report.sections.extend(cluster.logs())


@pytest.fixture
def folder():
    """A folder of the test's own, gone afterwards."""
    path = tempfile.mkdtemp(prefix="tessera-test-")
    before = process.started_processes()
    yield path
    process.reap_all(but=before)
    process.reap_below(path)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def standalone(folder):
    """One member without a replica set."""
    return server.standalone(f"{folder}/standalone")


@pytest.fixture
def make_server(folder):
    """make_server(role, *flags): a process that is not started yet."""
    made = []

    def make(role="mongod", *flags, **more):
        made.append(server.Server(role, f"{folder}/{len(made)}", *flags, **more))
        return made[-1]
    return make


@pytest.fixture
def make_replica_set(folder):
    """make_replica_set(n): started and initiated."""
    made = []

    def make(size=3, initiate=True, config=None, **more):
        name = more.setdefault("name", f"rs{len(made)}")
        made.append(ReplicaSet(f"{folder}/{name}", size, **more).start())
        if initiate:
            made[-1].initiate(config)
        return made[-1]
    yield make
    for replica_set in made:
        replica_set.close()


@pytest.fixture
def replica_set(make_replica_set):
    """Three members and a primary."""
    return make_replica_set(3)


def _cluster(*flags):
    path = tempfile.mkdtemp(prefix="tessera-test-")
    cluster = Cluster(f"{path}/cluster", *flags)
    _clusters.append(cluster)
    return path, cluster


def _end(path, cluster):
    left = cluster.close()
    _clusters.remove(cluster)
    shutil.rmtree(path, ignore_errors=True)
    assert not left, f"left running by the launcher: {left}"


@pytest.fixture
def make_cluster():
    """make_cluster(*flags): a cluster of the test's own, up and ready."""
    made = []

    def make(*flags, up=True):
        made.append(_cluster(*flags))
        return made[-1][1].up() if up else made[-1][1]
    yield make
    for path, cluster in made:
        _end(path, cluster)


@pytest.fixture
def cluster(make_cluster):
    """The default topology, of the test's own: to break."""
    return make_cluster()


@pytest.fixture(scope="session")
def shared_cluster():
    """The default topology, one for the whole run: to use, in databases of one's own."""
    path, cluster = _cluster()
    try:
        yield cluster.up()
    finally:
        _end(path, cluster)


@pytest.fixture(scope="module")
def breakable_cluster():
    """The default topology, one for a file whose tests break it and mend it."""
    path, cluster = _cluster()
    try:
        yield cluster.up()
    finally:
        _end(path, cluster)


@pytest.fixture
def database(shared_cluster):
    """A database nobody else has, on the shared cluster."""
    name = f"t{uuid.uuid4().hex[:12]}"
    yield shared_cluster.client[name]
    shared_cluster.client.drop_database(name)

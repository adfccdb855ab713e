# SPDX-License-Identifier: Apache-2.0
"""Network partitions without privileges: the members of a set know each other by the addresses of
proxies in this process, which hold back what passes between two that are cut off."""

import select
import socket
import threading

import psutil

CHUNK = 65536


class Network:
    """One proxy a member.  Who is asked is known by the proxy, who asks by the process at the other
    end of the connection; whoever is no member (a client) is never cut off."""

    def __init__(self, members):
        self._members = list(members)
        self._cut = set()
        self._changed = threading.Condition()
        self._stopped = False
        self._listeners = []
        self.addresses = {}
        for member in self._members:
            listener = socket.create_server(("127.0.0.1", 0))
            self._listeners.append(listener)
            self.addresses[member] = f"127.0.0.1:{listener.getsockname()[1]}"
            threading.Thread(target=self._accept, args=(listener, member), daemon=True).start()

    def isolate(self, member):
        """Nothing passes between this member and the others, either way."""
        with self._changed:
            self._cut.add(member)

    def heal(self):
        """What was held back passes now, late, as a real network would deliver it."""
        with self._changed:
            self._cut.clear()
            self._changed.notify_all()

    def close(self):
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for listener in self._listeners:
            listener.close()

    def _member_at(self, port):
        for member in self._members:
            try:
                if any(c.laddr.port == port for c in psutil.Process(member.pid).connections("tcp")):
                    return member
            except psutil.Error:
                continue
        return None

    def _wait_open(self, one, other):
        """Blocks while the two are cut off from each other; false at the end of the test."""
        if one is None or one is other:
            return not self._stopped
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopped or not (one in self._cut or other in self._cut))
        return not self._stopped

    def _accept(self, listener, target):
        while True:
            try:
                asking, address = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(asking, address[1], target),
                             daemon=True).start()

    def _relay(self, asking, port, target):
        source = self._member_at(port)
        try:
            with asking:
                if not self._wait_open(source, target):
                    return
                with socket.create_connection(("127.0.0.1", target.port), timeout=5) as asked:
                    self._pump(asking, asked, source, target)
        except OSError:
            return

    def _pump(self, asking, asked, source, target):
        ways = {asking: asked, asked: asking}
        while not self._stopped:
            for readable in select.select(list(ways), [], [], 0.5)[0]:
                data = readable.recv(CHUNK)
                if not data or not self._wait_open(source, target):
                    return
                ways[readable].sendall(data)

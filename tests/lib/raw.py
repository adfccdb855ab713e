# SPDX-License-Identifier: Apache-2.0
"""A connection that sends commands as they are given: drivers add fields of their own."""

import socket
import struct

import bson

from lib.wait import SLOWNESS

OP_MSG = 2013
SECONDS_MAX = 20


class RawConnection:
    """Speaks OP_MSG with one document section."""

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX * SLOWNESS)
        self._request = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def call(self, command):
        """Sends one command and returns its reply, whatever it says."""
        self._request += 1
        body = struct.pack("<IB", 0, 0) + bson.encode(command)
        self._socket.sendall(struct.pack("<iiii", 16 + len(body), self._request, 0, OP_MSG) + body)
        size, _, response_to, op_code = struct.unpack("<iiii", self._receive(16))
        reply = self._receive(size - 16)
        assert (response_to, op_code) == (self._request, OP_MSG)
        return bson.decode(reply[5:])

    def _receive(self, size):
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            assert more, "the server closed the connection"
            data += more
        return data

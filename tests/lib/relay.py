# SPDX-License-Identifier: Apache-2.0
"""A relay between a client and one server that reads the messages passing, to say how they came."""

import socket
import struct
import threading

OP_COMPRESSED = 2012


class Relay:
    """`compressors` holds (asked or answered, number of the compressor) of what has passed."""

    def __init__(self, port):
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.compressors = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)  # Wakes _accept.
        self._listener.close()

    def _accept(self):
        while True:
            try:
                asking, _ = self._listener.accept()
                asked = socket.create_connection(("127.0.0.1", self._port), timeout=10)
            except OSError:
                return
            asked.settimeout(None)
            for way in ((asking, asked, "asked"), (asked, asking, "answered")):
                threading.Thread(target=self._pump, args=way, daemon=True).start()

    def _pump(self, source, target, way):
        try:
            with source, target, source.makefile("rb") as stream:
                while len(header := stream.read(16)) == 16:
                    size, _, _, opcode = struct.unpack("<iiii", header)
                    body = stream.read(size - 16)
                    if opcode == OP_COMPRESSED:
                        self.compressors.add((way, body[8]))
                    target.sendall(header + body)
        except OSError:
            pass

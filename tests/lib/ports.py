# SPDX-License-Identifier: Apache-2.0
"""Free ports, below the range the system gives to outgoing connections."""

import os
import random
import socket

LOWEST, HIGHEST = 20000, 32000
ATTEMPTS_MAX = 2000

_given = set()
_random = random.Random(os.getpid())


def is_free(port):
    """True if a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count=1):
    """`count` neighbouring ports, free now and given to nobody else in this run."""
    for _ in range(ATTEMPTS_MAX):
        first = _random.randrange(LOWEST, HIGHEST - count)
        ports = list(range(first, first + count))
        if not _given.intersection(ports) and all(map(is_free, ports)):
            _given.update(ports)
            return ports
    raise RuntimeError(f"no {count} free ports between {LOWEST} and {HIGHEST}")


def free_port():
    return free_ports(1)[0]

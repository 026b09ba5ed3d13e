"""Ports at which the ranks of a training meet.

They are below those that Linux gives to outgoing connections (32768 and up, see
ip_local_port_range): one of those can be taken by any program between its choice and its use.
"""

from __future__ import annotations

import random
import socket

PORTS = range(20_000, 32_768)


def port_of(job_id: str) -> int:
    """Return the port of a Slurm job, which its ranks must know without asking each other."""
    return random.Random(job_id).choice(PORTS)


def free_port() -> int:
    """Return a port of this machine that nobody uses.

    Raises
    ------
    OSError
        If none of a hundred is free.
    """
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise OSError(f"none of a hundred ports from {PORTS[0]} to {PORTS[-1]} is free")

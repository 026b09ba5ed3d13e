"""Where ranks meet: at a port that an outgoing connection cannot have taken."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest

from wmss_cli.core.ports import PORTS, free_port, port_of


def test_the_ranks_of_a_job_find_one_port_and_jobs_have_others() -> None:
    assert port_of("7_3") == port_of("7_3")
    assert len({port_of(str(job_id)) for job_id in range(1000)}) > 900


def test_no_outgoing_connection_gets_such_a_port() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    if lowest <= PORTS[-1]:
        pytest.skip(f"on this machine outgoing connections begin at {lowest}")
    assert all(port in PORTS for port in (free_port(), port_of("1")))


def test_a_port_in_use_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        port, other = taken.getsockname()[1], free_port()
        monkeypatch.setattr(random, "sample", lambda *_: [port, other])
        assert free_port() == other
        monkeypatch.setattr(random, "sample", lambda *_: [port])
        with pytest.raises(OSError, match="none of a hundred ports"):
            free_port()

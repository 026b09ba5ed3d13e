"""Messages between ranks: what becomes of a rank whose first rank has gone."""

from __future__ import annotations

from datetime import timedelta

import pytest
import torch.distributed as dist

from wmss_cli.core.ports import free_port
from wmss_cli.train import rank_messages
from wmss_cli.train.rank_messages import connect


def test_where_no_rank_serves_the_store_the_others_do_not_wait_for_a_day(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    monkeypatch.setattr(rank_messages, "_CONNECT", timedelta(seconds=1))
    with pytest.raises(dist.DistNetworkError):
        connect(timedelta(hours=24))


def test_a_connection_waits_for_messages_as_long_as_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = free_port()
    server = dist.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    store = connect(timedelta(hours=24))
    assert store.timeout == timedelta(hours=24)
    server.set("told", "yes")
    assert store.get("told") == b"yes"

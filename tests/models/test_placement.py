"""Where a process runs, on machines that are made up, and on this one."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from wmss_cli.models import placement
from wmss_cli.models.placement import bind_threads, choose_cpus, near_cpus, stay_near

SOCKET_0 = frozenset({*range(48), *range(96, 144)})
EVERYWHERE = frozenset(range(192))


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two sockets of 48 cores with two threads each, and a GPU at each of them."""
    for address, cpus in (("0000:1b:00.0", "0-47,96-143"), ("0001:c8:00.0", "48-95,144-191")):
        (tmp_path / address).mkdir()
        (tmp_path / address / "local_cpulist").write_text(f"{cpus}\n")
    monkeypatch.setattr(placement, "_PCI", tmp_path)
    return tmp_path


def test_the_machine_says_which_cpus_are_near(devices: Path) -> None:
    assert near_cpus("0000:1b:00.0") == SOCKET_0
    assert near_cpus("0001:c8:00.0") == EVERYWHERE - SOCKET_0
    assert near_cpus("0000:ff:00.0") == frozenset()
    (devices / "0000:1b:00.0" / "local_cpulist").write_text("7\n")
    assert near_cpus("0000:1b:00.0") == {7}
    (devices / "0000:1b:00.0" / "local_cpulist").write_text("\n")
    assert near_cpus("0000:1b:00.0") == frozenset()


@pytest.mark.parametrize(
    ("allowed", "threads", "chosen"),
    [
        pytest.param(EVERYWHERE, 12, SOCKET_0, id="a node of its own, nothing bound"),
        pytest.param(range(40, 60), 8, frozenset(range(40, 48)), id="cores of both sockets"),
        pytest.param(range(12), 12, frozenset(), id="bound to near cores already"),
        pytest.param(range(48, 60), 12, frozenset(), id="bound to far cores"),
        pytest.param(range(47, 59), 12, frozenset(), id="one near core for twelve threads"),
    ],
)
def test_near_cpus_are_taken_where_there_are_enough(
    allowed: range, threads: int, chosen: frozenset[int]
) -> None:
    assert choose_cpus(SOCKET_0, frozenset(allowed), threads) == chosen


def test_threads_that_run_already_move_too() -> None:
    before = os.sched_getaffinity(0)
    running, done = threading.Event(), threading.Event()
    other: list[int] = []

    def wait() -> None:
        other.append(threading.get_native_id())
        running.set()
        done.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    running.wait()
    try:
        bind_threads({min(before)})
        assert os.sched_getaffinity(0) == os.sched_getaffinity(other[0]) == {min(before)}
    finally:
        bind_threads(before)
        done.set()
        thread.join()
    assert os.sched_getaffinity(0) == before


def test_a_gpu_is_found_by_its_address_on_the_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda", 5)
    found = SimpleNamespace(pci_domain_id=1, pci_bus_id=0xC8, pci_device_id=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", {gpu: found}.get)
    assert placement._address(gpu) == "0001:c8:00.0"
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace())
    assert placement._address(gpu) is None, "an older torch does not know"


def test_far_cpus_alone_are_a_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    allowed = os.sched_getaffinity(0)
    monkeypatch.setattr(placement, "_address", lambda _: "0000:1b:00.0")
    monkeypatch.setattr(placement, "near_cpus", lambda _: frozenset({5000}))
    stay_near(torch.device("cuda", 5))
    assert f"cuda:5: this process may use CPUs {sorted(allowed)}, far" in capsys.readouterr().out
    assert os.sched_getaffinity(0) == allowed


def test_on_a_cpu_nothing_moves() -> None:
    before = os.sched_getaffinity(0)
    stay_near(torch.device("cpu"))
    assert os.sched_getaffinity(0) == before

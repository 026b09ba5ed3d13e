"""Metrics reach the services that are asked for, each step once, whatever happened to the run."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch.distributed as dist
from jobs import make_joint_job, run_workers

from wmss_cli.core.errors import ConfigError
from wmss_cli.core.files import read_json_lines, write_json_lines
from wmss_cli.train.ranks import Ranks
from wmss_cli.train.writers import MetricWriters

SERVICES = ("tensorboard", "trackio", "wandb")

Curve = list[tuple[int, float]]


@pytest.fixture
def alone() -> Iterator[Ranks]:
    """A process group of this process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield Ranks(0, 1)
    dist.destroy_process_group()


@pytest.fixture(autouse=True)
def by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing reach a network; what wmss sets itself ends with the test."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", "")
    monkeypatch.delenv("TRACKIO_DIR")


def read_tensorboard(logs: Path) -> list[Curve]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves = []
    for folder in sorted((logs / "tensorboard").iterdir()):
        events = EventAccumulator(str(folder))
        events.Reload()
        curves.append([(event.step, event.value) for event in events.Scalars("loss")])
    return curves


def read_trackio(logs: Path) -> list[Curve]:
    from trackio.sqlite_storage import SQLiteStorage

    runs = [path.read_text() for path in logs.glob("*.run")]
    logged = [SQLiteStorage.get_logs("wmss", run) for run in runs]
    return [[(entry["step"], entry["loss"]) for entry in entries] for entries in logged]


def read_wandb(logs: Path) -> list[Curve]:
    """Read what lies there to be sent: a folder for each attempt, joined by their run's id."""
    from wandb.proto.wandb_internal_pb2 import Record

    curves: dict[str, Curve] = {}
    files = (logs / "wandb").glob("offline-run-*/run-*.wandb")
    for path in sorted(files, key=lambda path: path.stat().st_mtime_ns):
        curve = curves.setdefault(path.name, [])
        content, at = path.read_bytes(), 7
        assert len(content) < 2**15, "one block of a LevelDB log"
        while at < len(content):
            (length,) = struct.unpack_from("<H", content, at + 4)
            record = Record.FromString(content[at + 7 : at + 7 + length])
            at += 7 + length
            for item in record.history.item:
                if "loss" in (item.key, *item.nested_key):
                    curve.append((record.history.step.num, float(item.value_json)))
    return list(curves.values())


READERS: dict[str, Callable[[Path], list[Curve]]] = {
    "tensorboard": read_tensorboard,
    "trackio": read_trackio,
    "wandb": read_wandb,
}


def train(out: Path, service: str, ranks: Ranks, begin: int, end: int) -> None:
    """Report the steps from `begin` to before `end`, as the loop does."""
    metrics = out / "metrics.jsonl"
    with MetricWriters([service], out, {"learning_rate": 0.1}, ranks) as writers:  # type: ignore[list-item]
        writers.open(begin - 1, metrics)
        for step in range(begin, end):
            writers.write({"step": step, "loss": step / 4, "share_of_limit": None})
    write_json_lines(metrics, [{"step": step} for step in range(1, end)])


@pytest.mark.parametrize("service", SERVICES)
def test_a_run_that_continues_has_each_step_once(
    tmp_path: Path, alone: Ranks, service: str
) -> None:
    pytest.importorskip(service)
    out = tmp_path / "sft"
    out.mkdir()
    train(out, service, alone, 1, 9)
    # Its newest checkpoint was that of step 5.
    train(out, service, alone, 6, 12)
    assert READERS[service](tmp_path / "logs") == [[(step, step / 4) for step in range(1, 12)]]


@pytest.mark.parametrize("service", SERVICES)
def test_a_run_that_begins_again_is_another_one(tmp_path: Path, alone: Ranks, service: str) -> None:
    pytest.importorskip(service)
    out = tmp_path / "sft"
    out.mkdir()
    train(out, service, alone, 1, 9)
    train(out, service, alone, 1, 4)
    *_, newest = READERS[service](tmp_path / "logs")
    assert newest == [(step, step / 4) for step in range(1, 4)]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_is_not_installed_is_refused(
    tmp_path: Path, alone: Ranks, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    # As Python itself marks what cannot be imported.
    monkeypatch.setitem(sys.modules, service, None)
    with pytest.raises(ConfigError, match=rf"pip install 'wmss\[{service}\]'"):
        MetricWriters([service], tmp_path / "sft", {}, alone)  # type: ignore[list-item]


def test_without_a_service_nothing_is_written(tmp_path: Path, alone: Ranks) -> None:
    with MetricWriters([], tmp_path / "sft", {}, alone) as writers:
        writers.open(0, tmp_path / "metrics.jsonl")
        writers.write({"step": 1, "loss": 0.5})
    assert list(tmp_path.iterdir()) == []


def test_wandb_without_a_login_is_refused(
    tmp_path: Path, alone: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    writers = MetricWriters(["wandb"], tmp_path / "sft", {}, alone)
    with pytest.raises(ConfigError, match=r"log in by 'wandb login', or set WANDB_MODE=offline"):
        writers.open(0, tmp_path / "metrics.jsonl")


@pytest.mark.slow
def test_a_killed_stage_continues_its_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    job = make_joint_job(tmp_path, report_to=["tensorboard"])
    # In step 5, after the checkpoint of step 3.
    codes, _ = run_workers(job, tmp_path / "first", fault="forward", count=4 * 4 + 2)
    assert codes == [-9]
    codes, error = run_workers(job, tmp_path / "second")
    assert codes == [0], error
    metrics = read_json_lines(Path(job.out) / "metrics.jsonl")
    (curve,) = read_tensorboard(tmp_path / "logs")
    assert [step for step, _ in curve] == [row["step"] for row in metrics]
    assert [loss for _, loss in curve] == pytest.approx([row["loss"] for row in metrics])
    # Where metrics go does not change the result.
    assert not job.identity.get("report_to")
    assert not list(Path(job.out).rglob("*tfevents*"))


@pytest.mark.slow
def test_a_stage_refuses_before_it_loads_a_model(tmp_path: Path) -> None:
    job = make_joint_job(tmp_path)
    missing = [name for name in SERVICES if name not in sys.modules and not _there(name)]
    if not missing:
        pytest.skip("all services are installed")
    job = replace(job, config={**job.config, "report_to": missing[:1]})
    codes, error = run_workers(job, tmp_path / "handover")
    assert codes == [3]
    assert error is not None
    assert error["message"].startswith(f"report_to {missing[0]} is not installed")


def _there(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None

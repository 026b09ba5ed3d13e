"""How many processes a stage has here."""

from __future__ import annotations

import os
from typing import Any

import pytest

from wmss_cli.core.artifact import Job
from wmss_cli.launch.local import count_processes, name_gpus, visible_gpus


def job(stage: str, **config: Any) -> Job:
    return Job(stage, config, {}, {}, "out")


@pytest.mark.parametrize(
    ("wanted", "gpus", "count"),
    [
        (None, 0, 1),
        (2, 0, 2),
        (None, 8, 8),
        (4, 8, 4),
        # Two processes on one GPU would each need the memory of all of it.
        (16, 8, 8),
    ],
)
@pytest.mark.parametrize("stage", ["score_entropy", "eval"])
def test_shards_on_gpus_and_on_a_cpu(stage: str, wanted: int | None, gpus: int, count: int) -> None:
    assert count_processes(job(stage), wanted, gpus) == count


@pytest.mark.parametrize(
    ("wanted", "workers", "count"), [(8, 2, 3), (8, 1, 6), (2, 2, 2), (8, 16, 1), (None, 2, 1)]
)
def test_curation_takes_no_more_cores_than_there_are(
    monkeypatch: pytest.MonkeyPatch, wanted: int | None, workers: int, count: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    assert count_processes(job("curate", workers=workers), wanted, 0) == count


@pytest.mark.parametrize(
    ("wanted", "gpus", "batch", "count"),
    [
        (None, 0, 32, 1),
        (None, 8, 32, 8),
        (2, 8, 32, 2),
        # Without a word of the user no rank is without a sample.
        (None, 8, 4, 4),
        (8, 0, 4, 8),
    ],
)
def test_the_ranks_of_a_training_stage(
    wanted: int | None, gpus: int, batch: int, count: int
) -> None:
    assert count_processes(job("sft", global_batch_size=batch), wanted, gpus) == count


@pytest.mark.parametrize("stage", ["tokenize", "build_curriculum", "score_shard", "eval_shard"])
def test_other_stages_and_single_shards_are_one_process(stage: str) -> None:
    assert count_processes(job(stage), 8, 8) == 1


@pytest.mark.parametrize(
    ("count", "named", "names"),
    [
        (3, None, ["0", "1", "2"]),
        (2, "4,6", ["4", "6"]),
        (1, "GPU-1b2c", ["GPU-1b2c"]),
        (1, "5,-1,6", ["5"]),
        (0, "", []),
    ],
)
def test_gpus_have_the_names_that_the_user_gave(
    count: int, named: str | None, names: list[str]
) -> None:
    assert name_gpus(count, named) == names


def test_no_gpu_is_seen_where_none_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []

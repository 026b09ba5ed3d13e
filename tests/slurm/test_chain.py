"""A plan as a chain: arrays and their merge, what waits for what, names that say what is made."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from slurm.fake_slurm import stage_of
from slurm.plans import group, small_plan, training_plan, with_out

from wmss_cli.slurm.chain import Link, chain, job_name
from wmss_cli.slurm.profile import Profile, Resources
from wmss_cli.stages.shards import shard_jobs


def by_stage(links: list[Link]) -> dict[str, Link]:
    """Return links by the stage and part in their names."""
    return {stage_of(link.name): link for link in links}


def needs(links: list[Link]) -> dict[str, list[str]]:
    return {stage: [*map(stage_of, link.needs)] for stage, link in by_stage(links).items()}


def test_shards_become_an_array_and_a_job_that_merges_them(tmp_path: Path) -> None:
    steps = small_plan(tmp_path, shards=3)
    links = chain([group(steps)])
    assert needs(links) == {
        "curate": [],
        "score.0-2": ["curate"],
        # What was curated may be made again while all shards are done.
        "score.merge": ["score.0-2", "curate"],
        "curriculum": ["score.merge"],
    }
    found = by_stage(links)
    assert list(found["score.0-2"].jobs) == shard_jobs(steps[1].job)
    assert not found["score.0-2"].merges
    merge = found["score.merge"]
    assert (merge.jobs, merge.merges) == ((steps[1].job,), True)
    assert found["score.0-2"].step == merge.step == steps[1]


def test_a_stage_in_one_shard_is_one_job_that_does_it_all(tmp_path: Path) -> None:
    links = by_stage(chain([group(small_plan(tmp_path, shards=1))]))
    assert list(links) == ["curate", "score", "curriculum"]
    assert len(links["score"].jobs) == 1
    assert not links["score"].merges


def test_arrays_are_no_larger_than_the_cluster_allows(tmp_path: Path) -> None:
    links = chain([group(small_plan(tmp_path, shards=10), Profile(), 4)])
    chunks = ["score.0-3", "score.4-7", "score.8-9"]
    assert list(needs(links)) == ["curate", *chunks, "score.merge", "curriculum"]
    assert needs(links)["score.merge"] == [*chunks, "curate"]
    shards = [job for link in links for job in link.jobs if job.stage == "score_shard"]
    assert [job.config["shard"] for job in shards] == list(range(10))
    assert max(len(link.jobs) for link in links) == 4


def test_all_arrays_of_a_stage_share_the_limit(tmp_path: Path) -> None:
    profile = Profile(array_limit=5)
    links = by_stage(chain([group(small_plan(tmp_path, shards=10), profile, 4)]))
    limits = {name: link.limit for name, link in links.items()}
    assert limits == {
        **{"curate": 1, "score.0-3": 1, "score.4-7": 1, "score.8-9": 1},
        **{"score.merge": 1, "curriculum": 1},
    }
    one = chain([group(small_plan(tmp_path, shards=10), profile)])[1]
    assert one.limit == 5


def test_a_chunk_of_one_is_a_job(tmp_path: Path) -> None:
    links = by_stage(chain([group(small_plan(tmp_path, shards=5), Profile(), 4)]))
    assert [len(links[name].jobs) for name in ("score.0-3", "score.4-4")] == [4, 1]


def test_each_stage_takes_its_section_of_the_profile(tmp_path: Path) -> None:
    links = by_stage(chain([group([*small_plan(tmp_path), *training_plan(tmp_path)[1:]])]))
    assert {name: link.kind for name, link in links.items()} == {
        **{"curate": "cpu", "score.0-2": "score", "score.merge": "cpu", "curriculum": "cpu"},
        **{"sft": "train", "report": "cpu"},
    }


def test_only_training_has_several_processes(tmp_path: Path) -> None:
    wide = Resources(nodes=2, tasks_per_node=8, gpus_per_node=8, cpus_per_task=12)
    profile = Profile(train=wide, score=wide, cpu=wide)
    links = by_stage(chain([group([*small_plan(tmp_path), *training_plan(tmp_path)[1:]], profile)]))
    assert links["sft"].resources == wide.model_copy(update={"signal_lead_s": 120})
    for stage in ("curate", "score.0-2", "score.merge"):
        one = links[stage].resources
        assert (one.nodes, one.tasks_per_node, one.cpus_per_task) == (1, 1, 12)


def test_a_step_waits_only_for_steps_of_the_plan(tmp_path: Path) -> None:
    _, score, curriculum = small_plan(tmp_path)
    links = chain([group([score, curriculum])])
    assert needs(links)["score.0-2"] == []
    assert needs(links)["curriculum"] == ["score.merge"]


def test_training_without_scontrol_has_successors(tmp_path: Path) -> None:
    profile = Profile(requeue="chain", chained_jobs=2)
    links = chain([group(training_plan(tmp_path), profile)])
    assert needs(links) == {
        **{"curate": [], "sft.0": ["curate"], "sft.1": ["curate"], "sft": ["curate"]},
        "report": ["sft"],
    }
    after = {stage_of(link.name): link.after and stage_of(link.after) for link in links}
    assert after == {
        **{"curate": None, "sft.0": None, "sft.1": "sft.0", "sft": "sft.1", "report": None}
    }
    found = by_stage(links)
    assert found["sft.0"].jobs == found["sft.1"].jobs == found["sft"].jobs


def test_equal_work_has_an_equal_name(tmp_path: Path) -> None:
    (step, *_) = small_plan(tmp_path)
    assert job_name(step) == job_name(small_plan(tmp_path)[0])
    # What only changes how it runs changes no name.
    workers = replace(step.job, config=step.job.config | {"workers": 9})
    assert job_name(replace(step, job=workers)) == job_name(step)


def test_other_work_has_another_name(tmp_path: Path) -> None:
    (step, *_) = small_plan(tmp_path)
    names = {
        job_name(step),
        job_name(replace(step, fingerprint="other")),
        job_name(with_out(step, "elsewhere")),
        job_name(replace(step, label="other")),
    }
    assert len(names) == 4


@pytest.mark.parametrize(
    ("label", "shown"),
    [("a" * 300, "a" * 40), ("score-strong-1", "score-strong-1"), ("a b|c/d\nä", "a-b-c-d--")],
)
def test_a_name_says_the_stage_and_is_short_and_plain(
    tmp_path: Path, label: str, shown: str
) -> None:
    (step, *_) = small_plan(tmp_path)
    assert re.fullmatch(rf"wmss-{shown}-[0-9a-f]{{12}}", job_name(replace(step, label=label)))

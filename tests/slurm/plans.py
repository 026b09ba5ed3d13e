"""Small plans whose steps cost nothing, and results that count as theirs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from slurm.fake_slurm import FakeSlurm, stage_of

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.config import CurateConfig, CurriculumConfig, ScoreConfig, Section, SftConfig
from wmss_cli.core.files import write_json_lines
from wmss_cli.core.manifest import Manifest
from wmss_cli.slurm.chain import Group, chain
from wmss_cli.slurm.decide import Decision
from wmss_cli.slurm.ledger import Ledger, RunPlan
from wmss_cli.slurm.profile import Profile
from wmss_cli.slurm.script import render
from wmss_cli.slurm.send import submit
from wmss_cli.stages.plan import Output, Plan, Step, external
from wmss_cli.stages.shards import shard_jobs


def small_plan(folder: Path, shards: int = 3) -> list[Step]:
    """Return curate, score (in shards) and curriculum, each after the one before."""
    plan, curated = _begin(folder)
    scored = plan.add("score", "score_entropy", ScoreConfig(shards=shards), {"tokens": curated})
    plan.add("curriculum", "build_curriculum", CurriculumConfig(), {"weak": scored})
    return plan.steps


def training_plan(folder: Path) -> list[Step]:
    """Return curate, sft and a report on it."""
    plan, curated = _begin(folder)
    trained = plan.add("sft", "sft", SftConfig(), {"tokens": curated})
    plan.add("report", "report", Section(), {"train-sft": trained})
    return plan.steps


def _begin(folder: Path) -> tuple[Plan, Output]:
    data = folder / "data.jsonl"
    if not data.exists():
        data.write_text("{}\n")
    plan = Plan(folder / "run")
    return plan, plan.add("curate", "curate", CurateConfig(), {"data-0000": external(data)})


def group(
    steps: Sequence[Step], profile: Profile | None = None, max_array_size: int = 1001
) -> Group:
    """Say how steps are sent; without a profile each asks for little."""
    return Group(
        steps=list(steps),
        profile=profile or Profile(),
        profile_name="cpu",
        max_array_size=max_array_size,
    )


def send_plan(
    steps: Sequence[Step], folder: Path, profile: Profile | None = None, **options: Any
) -> list[Decision]:
    """Submit one of the plans above from its folder."""
    return submit(folder / "run", [group(steps, profile)], **options)


def as_sent(
    slurm: FakeSlurm, steps: Sequence[Step], run_dir: Path, profile: Profile | None = None
) -> Ledger:
    """Leave a run as a submission does, which would take ten times as long (a test compares)."""
    ledger = Ledger(run_dir)
    ids: dict[str, str] = {}
    lines: list[dict[str, Any]] = []
    sent = group(steps, profile)
    with ledger.alone():
        ledger.write_plan(RunPlan(groups=[sent], accounting=True, config=None))
        for link in chain([sent]):
            needs = ":".join(("afterok", *(ids[need] for need in link.needs)))
            dependency = needs if link.needs else None
            parts = list(range(len(link.jobs)))
            text = render(link, ledger.link_folder(link.name), len(parts), dependency)
            ids[link.name] = slurm.add(text)
            for event, job_id in (("intent", None), ("sent", ids[link.name])):
                entry = {"event": event, "name": link.name, "job_id": job_id, "parts": parts}
                lines.append(entry | {"order": "order.json", "time": time.time()})
        write_json_lines(ledger.folder / "ledger.jsonl", lines)
    return ledger


def finish(job: Job) -> Manifest:
    """Put a result in place, as the stage would."""
    with open_draft(job) as draft:
        (draft.folder / "result.txt").write_text(job.stage)
        return draft.commit({})


def finish_shards(step: Step, numbers: Sequence[int]) -> None:
    """Put the results of some shards in place."""
    for number in numbers:
        finish(shard_jobs(step.job)[number])


def work(slurm: FakeSlurm, steps: Sequence[Step], shards: Iterator[int]) -> None:
    """Let the first job or task that waits end well; `shards` yields those that are not done."""
    by_label = {step.label: step for step in steps}
    for job in slurm.jobs():
        label, _, part = stage_of(job["name"]).partition(".")
        for index in job["tasks"]:
            job_id = job["id"] + (f"_{index}" if index else "")
            if slurm.states(job_id) == ["PENDING"]:
                if part in ("", "merge"):
                    finish(by_label[label].job)
                else:
                    finish_shards(by_label[label], [next(shards)])
                slurm.move(job_id, "COMPLETED")
                return


def with_out(step: Step, out: str) -> Step:
    """Return the same step with its result elsewhere."""
    return replace(step, job=replace(step.job, out=out))

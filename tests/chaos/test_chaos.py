"""Kill, full disk, failing disk, flipped bit: what comes out is the same, or a line says why not.

By default a seeded sample, in minutes; WMSS_CHAOS=full (``make test-chaos``) takes every place, in
an hour on two cores. The places are what a stage did without a fault, as the shim saw it.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chaos.conftest import FULL
from chaos.launcher import Launcher
from chaos.runs import Fault, Place, Runner, Stage, fresh, is_one_line

from wmss_cli.core.artifact import Job, finished, partial
from wmss_cli.core.manifest import MANIFEST
from wmss_cli.core.progress import PROGRESS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200 if FULL else 1200)]

BOUNDARIES = ("rename", "fsync")
# How many of a stage's places the sample takes: most of those that keep most.
KILLS = {
    "m1": 2,
    "wmss": 2,
    "score-m1": 1,
    "tokenize": 1,
    "curriculum": 1,
    "curate": 1,
    "report": 1,
}
AT_RANDOM = {"m1": 1, "wmss": 1, "score-base": 1}
REFUSALS = {"m1": 1, "wmss": 1, "score-m1": 1, "tokenize": 1, "curriculum": 1}
SIZES = {"m1": 2, "tokenize": 1, "curriculum": 1}
CARDS = ("README.md", "card.md")
FLIPS_PER_MANIFEST = 30 if FULL else 2


def sample(
    stages: dict[str, Stage], counts: dict[str, int]
) -> Iterator[tuple[Stage, random.Random]]:
    """Yield the stages with a generator of their own: the same in every run."""
    for label, stage in stages.items():
        if FULL or label in counts:
            yield stage, random.Random(label)


def chosen(
    generator: random.Random, stage: Stage, counts: dict[str, int], calls: tuple[str, ...]
) -> list[Place]:
    places = sorted(
        (place for place in stage.places if place.call in calls),
        key=lambda place: (place.call, place.path),
    )
    return places if FULL else generator.sample(places, min(len(places), counts[stage.label]))


def nth(generator: random.Random, stage: Stage, place: Place) -> int:
    """Return at which call of a place; how often progress is written depends on the time."""
    return 1 if PROGRESS in place.path else generator.randint(1, stage.places[place])


def say(what: str, counts: Counter[str]) -> None:
    print(f"{what}:", ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))


def test_a_kill_at_every_boundary_and_within_every_write(
    runner: Runner, stages: dict[str, Stage], tmp_path: Path
) -> None:
    counts: Counter[str] = Counter()
    missed: list[str] = []
    for stage, generator in sample(stages, KILLS):
        for place in chosen(generator, stage, KILLS, (*BOUNDARIES, "write")):
            what = "torn" if place.call == "write" else generator.choice(("before", "after"))
            fault = Fault(place, what, nth(generator, stage, place), group=True)
            job = stage.to(fresh(tmp_path / "runs"))
            ended = runner.run(job, fault)
            assert ended.code in (0, -9), (fault, ended)
            counts[f"{place.call} {what}"] += ended.code == -9
            if ended.code == 0:
                missed.append(f"{stage.label}: {place}")
            go_on(runner, stage, job, fault)
    say("killed", counts)
    print(f"not come by a second time: {missed}")
    assert len(missed) <= 0.1 * counts.total(), missed


def test_a_kill_at_random(runner: Runner, stages: dict[str, Stage], tmp_path: Path) -> None:
    killed = 0
    for stage, generator in sample(stages, AT_RANDOM):
        changes = sum(n for place, n in stage.places.items() if place.call != "read")
        for _ in range(8 if FULL else AT_RANDOM[stage.label]):
            job = stage.to(fresh(tmp_path / "runs"))
            # Twice in a row: the run that continues may be killed, too.
            for _ in range(2):
                fault = Fault(Place("writes", ""), "before", generator.randint(1, changes))
                killed += runner.run(job, fault).code == -9 if finished(job) is None else 0
            go_on(runner, stage, job, fault)
    print(f"killed at random: {killed}")
    assert killed >= 3


def go_on(runner: Runner, stage: Stage, job: Job, fault: object) -> None:
    ended = runner.run(job)
    assert ended.code == 0, (stage.label, fault, ended)
    stage.check(job)


@pytest.mark.parametrize(("name", "number"), [("full disk", 28), ("failing disk", 5)])
def test_a_disk_that_refuses_at_every_place(
    runner: Runner, stages: dict[str, Stage], tmp_path: Path, name: str, number: int
) -> None:
    counts: Counter[str] = Counter()
    for stage, generator in sample(stages, REFUSALS):
        places = chosen(generator, stage, REFUSALS, ("write", "fsync", "rename", "mkdir"))
        # DeepSpeed makes this folder, too, and passes over that it could not.
        state = [p for p in stage.places if p.call == "mkdir" and p.path.endswith("/state")]
        for place in dict.fromkeys([*places, *state[:1]]):
            fault = Fault(place, str(number), nth(generator, stage, place))
            job = stage.to(fresh(tmp_path / "runs"))
            ended = runner.run(job, fault)
            if ended.code == 0:
                # Not come by a second time, or nothing that the result needs.
                counts["done all the same"] += 1
                stage.check(job)
                continue
            assert is_one_line(ended, tmp_path / "runs"), (stage.label, fault, ended)
            assert ("disk is full" if number == 28 else "input/output error") in ended.line
            counts[f"refused at {place.call}"] += 1
            go_on(runner, stage, job, fault)
    say(name, counts)
    assert counts.total() - counts["done all the same"] >= 3


def test_a_disk_that_cannot_be_read(
    runner: Runner, stages: dict[str, Stage], tmp_path: Path
) -> None:
    """Every file of an input is read before the work begins, so the error names it."""
    root = runner.work / "runs"
    refused = 0
    for stage, generator in sample(stages, REFUSALS):
        places = [place for place in stage.places if place.call == "read"]
        inputs = tuple(f"{Path(path).name}" for path in stage.job.inputs.values())
        read = sorted({place.path for place in places if place.path.split("/")[0] in inputs})
        for path in read if FULL else generator.sample(read, 1):
            job = stage.to(fresh(tmp_path / "runs"))
            ended = runner.run(job, Fault(Place("read", path), "5"), root=root)
            assert is_one_line(ended, root / path), (stage.label, path, ended)
            assert "input/output error" in ended.line
            refused += 1
            if FULL:
                go_on(runner, stage, job, path)
    print(f"reads refused: {refused}")
    assert refused >= 5


def test_a_small_disk_of_any_size(
    runner: Runner, stages: dict[str, Stage], small_disk: Callable[[str], Path]
) -> None:
    counts: Counter[str] = Counter()
    disk = small_disk("8m")
    for stage, generator in sample(stages, SIZES):
        # What the whole result takes, and the checkpoints that are gone once it exists.
        size = sum(path.stat().st_size for path in Path(stage.job.out).rglob("*") if path.is_file())
        most = 2 * size + (2**20 if stage.label in ("m1", "wmss") else 2**16)
        steps = 24 if FULL else SIZES[stage.label]
        for step in range(steps):
            kib = max(8, int(most * (step + generator.random()) / steps / 4096) * 4)
            shutil.rmtree(disk / "runs", ignore_errors=True)
            resize(disk, f"{kib}k")
            (disk / "runs").mkdir()
            job = stage.to(disk / "runs")
            ended = runner.run(job)
            if ended.code == 0:
                counts["large enough"] += 1
                stage.check(job)
            else:
                assert is_one_line(ended, disk / "runs"), (stage.label, kib, ended)
                assert "disk is full" in ended.line or "free some space" in ended.line, ended
                counts["too small"] += 1
            resize(disk, "64m")
            go_on(runner, stage, job, kib)
    say("disks", counts)
    assert counts["too small"] >= 2


def resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


def flip(path: Path, generator: random.Random) -> bytes:
    """Flip one bit of a file; return its content before."""
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
    path.write_bytes(damaged)
    return whole


def test_a_flipped_bit_in_each_file_of_each_artifact(
    runner: Runner, stages: dict[str, Stage], tmp_path: Path
) -> None:
    counts: Counter[str] = Counter()
    artifacts = [stage.job.out for stage in stages.values()]
    seen: set[tuple[str, str]] = set()
    for stage, generator in sample(stages, dict.fromkeys(stages, 0)):
        for given in stage.job.inputs.values():
            made = next((a for a in artifacts if given == a or given.startswith(f"{a}/")), None)
            looked_at = (made, stage.label if FULL else "")
            if made is None or looked_at in seen:
                continue
            seen.add(looked_at)
            for path in sorted(p for p in Path(made).rglob("*") if p.is_file()):
                if not (str(path).startswith(given) or path.name == MANIFEST):
                    continue
                if not FULL and path.name in CARDS:
                    continue
                for _ in range(FLIPS_PER_MANIFEST if path.name == MANIFEST else 1):
                    whole = flip(path, generator)
                    counts[look(runner, stage, tmp_path, path)] += 1
                    path.write_bytes(whole)
            # It continues as soon as what was damaged is back.
            if FULL:
                go_on(runner, stage, stage.to(fresh(tmp_path / "runs")), given)
    say("flipped bits", counts)
    assert counts["found"] >= 20


def look(runner: Runner, stage: Stage, tmp_path: Path, path: Path) -> str:
    """Run a stage on a damaged input and return what became of it."""
    job = stage.to(fresh(tmp_path / "runs"))
    ended = runner.run(job)
    if ended.code == 0:
        # A card, or white space in a manifest: what no stage reads.
        assert path.name in (*CARDS, MANIFEST), (stage.label, path)
        stage.check(job)
        return "without effect"
    assert ended.code == 6, (stage.label, path, ended)
    assert is_one_line(ended, path), (stage.label, path, ended)
    return "found"


@pytest.mark.parametrize("label", ["m1", "wmss"])
def test_a_flipped_bit_in_each_file_of_unfinished_work(
    runner: Runner, stages: dict[str, Stage], tmp_path: Path, label: str
) -> None:
    stage = stages[label]
    first = stage.to(fresh(tmp_path / "first"))
    last = max(p.path for p in stage.places if p.call == "rename" and "/step-" in p.path[-14:])
    assert runner.run(first, Fault(Place("rename", last), "after")).code == -9
    left = partial(Path(first.out))
    there = (path for path in left.rglob("*") if path.is_file() and path.stat().st_size)
    kept = sorted(path.relative_to(left) for path in there)
    generator = random.Random(label)
    counts: Counter[str] = Counter()
    for name in kept if FULL else generator.sample(kept, 4):
        job = stage.to(fresh(tmp_path / "runs"))
        shutil.copytree(left, partial(Path(job.out)))
        path = partial(Path(job.out)) / name
        whole = flip(path, generator)
        ended = runner.run(job)
        if ended.code == 0:
            stage.check(job)
            counts["the same result"] += 1
            continue
        assert is_one_line(ended, partial(Path(job.out))), (name, ended)
        counts["a line"] += 1
        path.write_bytes(whole)
        go_on(runner, stage, job, name)
    say(f"flipped bits in {label}.partial", counts)


def test_unfinished_answers_are_written_again_where_they_were_damaged(
    runner: Runner, stages: dict[str, Stage], tmp_path: Path
) -> None:
    stage = next(stage for label, stage in stages.items() if label.startswith("eval"))
    job = stage.to(fresh(tmp_path / "runs"))
    place = next(p for p in stage.places if p.call == "write" and p.path.endswith(".parquet"))
    assert runner.run(job, Fault(place, "torn", group=True)).code == -9
    (answers,) = tmp_path.glob("runs/*.shards/*.partial/answers/answers.jsonl")
    content = answers.read_bytes()
    text = content.index(b'"text": "') + 9
    answers.write_bytes(content[:text] + b"!" + content[text + 1 :])
    go_on(runner, stage, job, place)


def test_wmss_run_whoever_of_it_is_killed(
    runner: Runner, stages: dict[str, Stage], tmp_path: Path
) -> None:
    wanted = list(stages.values()) if FULL else [stages[label] for label in ("tokenize", "m1")]
    victims = ("launcher", "worker", "all")
    plan = [
        (stage, who) for i, stage in enumerate(wanted) for who in victims[: 3 if FULL else i + 1]
    ]
    generator = random.Random("launcher")
    out = tmp_path / "runs"
    counts: Counter[str] = Counter()
    last = out / Path(wanted[-1].job.out).name
    while not (last / MANIFEST).is_file():
        plan = [(stage, who) for stage, who in plan if not is_there(out, stage)]
        stage, who = plan[0] if plan else (wanted[-1], "")
        launcher = Launcher(runner.work / "run.yaml", out)
        # The last one of the sample runs until it is there; nothing behind it is looked at.
        folder = partial(out / Path(stage.job.out).name) if plan else last
        if launcher.wait_for(lambda one=launcher, folder=folder: folder.is_dir() and one.works):
            time.sleep(generator.random() / 2)
            launcher.kill(who or "all")
            counts[who or "all, when it was done"] += 1
            plan = plan[1:]
        elif launcher.found_another:
            time.sleep(0.5)
        else:
            assert launcher.process.returncode == 0, launcher.said
    say("killed while it ran", counts)
    for stage in wanted:
        # A report names the command and the hours of its run.
        if stage.label != "report":
            stage.check(stage.to(out))


def is_there(out: Path, stage: Stage) -> bool:
    return (out / Path(stage.job.out).name / MANIFEST).is_file()

"""The command line: its start, the status of ten thousand array tasks, records to curate."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from wmss_cli.bench import curate
from wmss_cli.bench.models import random_model, smollm2
from wmss_cli.bench.process import WMSS, Finished, PlayedBack, run
from wmss_cli.bench.results import BenchTable, Goal, Ratio, Spread, at_least, at_most
from wmss_cli.bench.samples import write_table
from wmss_cli.bench.timing import Rival, Timed, Values, alternate, compare

HELP, NOTHING = "wmss --help", "python -c pass"
STATUS = "wmss status"
CURATE, ALONE = "wmss curate", "math-verify"
_MEMORY = "largest process"
_WHEN = "2026-11-24T16:37:35"


@dataclass(frozen=True)
class CliSize:
    """Numbers of array tasks, of records to curate for the time, and few and many for memory."""

    tasks: int
    records: int
    few: int
    many: int

    def goal(self, wanted: Goal) -> Goal | None:
        """Return a goal if it is set for this size."""
        return wanted if self == TABLE else None


TABLE = CliSize(10_000, 2000, 10_000, 100_000)
SMALL = CliSize(100, 40, 40, 80)


def measure_help(
    size: CliSize, rounds: int, on_run: Callable[[], None], _: Path
) -> list[BenchTable]:
    """Measure the time to show the help, minus that of Python itself."""
    commands = {HELP: [*WMSS, "--help"], NOTHING: [sys.executable, "-c", "pass"]}
    rivals = {
        name: Rival(partial(run, command), read=_memory) for name, command in commands.items()
    }
    timed = alternate(rivals, rounds, None, on_run)
    pairs = zip(timed.seconds[HELP], timed.seconds[NOTHING], strict=True)
    more = Ratio(
        quantity="time",
        name=f"{HELP}, beyond Python",
        value=Spread.of([one - other for one, other in pairs]),
        unit="s",
        goal=size.goal(at_most(0.25)),
    )
    return [_bench("the help", "calls", 1, timed, [more], size)]


def measure_status(
    size: CliSize, rounds: int, on_run: Callable[[], None], work: Path
) -> list[BenchTable]:
    """Measure the status of an array of which 30 % run, 30 % failed and the rest waits."""
    slurm = PlayedBack(work / "slurm", size.tasks + 1)
    command = [*WMSS, "status", str(_send(size.tasks, slurm, work)), "--json"]

    def read(found: Finished) -> Values:
        return _memory(found) | {"calls": np.array([float(slurm.calls())])}

    rivals = {STATUS: Rival(partial(run, command, slurm.environment), slurm.forget, read)}
    timed = alternate(rivals, rounds, None, on_run)
    ratios = [
        Ratio(
            quantity="time",
            name=STATUS,
            value=timed.time(STATUS),
            unit="s",
            goal=size.goal(at_most(2.0)),
        ),
        Ratio(
            quantity="calls",
            name=f"{STATUS}, to Slurm",
            value=Spread.of([float(values["calls"][0]) for values in timed.values[STATUS]]),
            goal=size.goal(at_most(1)),
        ),
    ]
    title = f"a run of {size.tasks:,} array tasks; Slurm's answers are played back"
    return [_bench(title, "tasks", size.tasks, timed, ratios, size)]


def _send(tasks: int, slurm: PlayedBack, work: Path) -> Path:
    """Submit an array, let Slurm report its state, and return the folder of the run."""
    model, tokens, folder = work / "model", work / "tokens", work / "run"
    config = smollm2(2, 256)
    random_model(config).save_pretrained(model)
    write_table(tokens, ((1, 1),) * tasks, config["vocab_size"])
    options = ("--shards", str(tasks), "--cluster", "slurm", "--profile", "cpu")
    inputs = ("--model", str(model), "--tokens", str(tokens), "--out", str(folder / "entropy"))
    run([*WMSS, "score-entropy", *inputs, *options], slurm.environment)
    array, merge = slurm.names()
    running, failed = range(3 * tasks // 10), range(3 * tasks // 10, 6 * tasks // 10)
    lines = [f"1_{i}|RUNNING|None|0:03|59:57|{_WHEN}|{array}|n1" for i in running]
    lines += [f"1_{i}|FAILED|None|0:03|59:57|{_WHEN}|{array}|n1" for i in failed]
    waiting = f"1_[{failed.stop}-{tasks - 1}%8]"
    lines += [f"{waiting}|PENDING|Resources|0:00|1:00:00|N/A|{array}|"]
    lines += [f"2|PENDING|Dependency|0:00|1:00:00|N/A|{merge}|"]
    slurm.say("squeue", "".join(f"{line}\n" for line in lines))
    ended = "|FAILED|1:0|60|00:30|60||4G|billing=1,cpu=1,mem=4G,node=1|"
    step = "|FAILED|1:0|60|00:30|60|2G||cpu=1,node=1|"
    rows = (f"1_{i}{ended}{_WHEN}|None\n1_{i}.batch{step}{_WHEN}|\n" for i in failed)
    slurm.say("sacct", "".join(rows))
    return folder


def measure_curate(
    size: CliSize, rounds: int, on_run: Callable[[], None], work: Path
) -> list[BenchTable]:
    """Measure records/s of curation against a plain loop, and its memory for more records."""
    records = work / "records.jsonl"
    curate.write_records(records, size.records)
    rivals = {CURATE: _curate(records, work), ALONE: _alone(records)}
    timed = alternate(rivals, rounds, None, on_run)
    peaks = []
    for count in (size.few, size.many):
        curate.write_records(records, count)
        rival = _curate(records, work)
        peaks.append(float(rival.read(rival.run())["memory"][0]))
        on_run()
    ratios = [
        Ratio(
            quantity="speed",
            name=f"{CURATE} / {ALONE}",
            value=timed.ratio(ALONE, CURATE),
            goal=size.goal(at_least(1.8)),
        ),
        Ratio(
            quantity="memory",
            name=f"{CURATE}, {size.many:,} / {size.few:,} records",
            value=Spread.of([peaks[1] / peaks[0]]),
            goal=size.goal(at_most(1.1)),
        ),
    ]
    title = f"{size.records:,} mathematical records, 2 workers; math-verify in one process"
    bench = _bench(title, "records", size.records, timed, ratios, size)
    return [bench.model_copy(update={"agreements": (compare(timed, "right answers", 0, ALONE),)})]


def _curate(records: Path, work: Path) -> Rival:
    command = (*WMSS, "curate", str(records), "--out", str(work / "curated"), "--force", "--json")

    def read(found: Finished) -> Values:
        kept = json.loads(found.stdout)["metrics"]["kept"]
        return _memory(found) | {"right answers": np.array([float(kept)])}

    return Rival(partial(run, command), read=read)


def _alone(records: Path) -> Rival:
    command = (sys.executable, "-m", curate.__name__, str(records))

    def read(found: Finished) -> Values:
        return _memory(found) | {"right answers": np.array([float(found.stdout)])}

    return Rival(partial(run, command), read=read)


def _memory(found: Finished) -> Values:
    return {"memory": np.array([float(found.memory_bytes)])}


def _bench(
    title: str, unit: str, amount: int, timed: Timed, ratios: Sequence[Ratio], size: CliSize
) -> BenchTable:
    memory = {
        name: int(max(values["memory"][0] for values in rounds))
        for name, rounds in timed.values.items()
    }
    return BenchTable(
        bench="cli",
        title=title,
        memory=_MEMORY,
        entries=timed.entries(unit, amount, memory),
        ratios=tuple(ratios),
        sizes=asdict(size),
    )

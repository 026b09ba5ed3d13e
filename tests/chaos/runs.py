"""A small pipeline whose stages are run under faults, and what must be true after each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from commands import right_records, write_records
from tiny import make_tiny_model

from wmss_cli.core.artifact import Job, finished
from wmss_cli.core.config import Config
from wmss_cli.core.errors import WmssError
from wmss_cli.core.manifest import Manifest, read_manifest, verify
from wmss_cli.launch.worker import CRASHED, read_error, write_job
from wmss_cli.stages.pipeline import plan_pipeline
from wmss_cli.stages.plan import Step

TRAINING = {
    "learning_rate": 1e-3,
    "global_batch_size": 4,
    "micro_batch_tokens": 300,
    "save_every_steps": 2,
    "max_steps": 5,
    "epochs": 10.0,
}
_NOT_THE_SAME_TWICE = ("metrics.jsonl", "logits.jsonl", "card.md")


@dataclass(frozen=True)
class Place:
    """A call on a file, as the shim counts them."""

    call: str
    path: str


@dataclass(frozen=True)
class Fault:
    """What shall happen at the `nth` call of a place (see ``shim.c``)."""

    place: Place
    fault: str
    nth: int = 1
    group: bool = False


@dataclass
class Ended:
    """How a run of a stage ended."""

    code: int
    error: dict[str, Any] | None

    @property
    def line(self) -> str:
        return "" if self.error is None else str(self.error["message"])


@dataclass
class Runner:
    """Runs stages in children of one process that has the shim and all libraries."""

    shim: Path
    work: Path
    kills: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._count = 0
        server = str(Path(__file__).with_name("server.py"))
        self._server = subprocess.Popen(
            [sys.executable, server],
            env={**os.environ, "LD_PRELOAD": str(self.shim), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "ready\n"

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        assert self._server.wait(60) == 0

    def run(
        self, job: Job, fault: Fault | None = None, root: Path | None = None, log: str = ""
    ) -> Ended:
        """Do what a launcher does: nothing where the work is done, else run the worker."""
        try:
            if fault is None and not log and finished(job) is not None:
                return Ended(0, None)
        except WmssError as error:
            # The launcher shows it, and starts nothing.
            return Ended(error.exit_code, {"message": str(error), "exit_code": error.exit_code})
        root = root or Path(job.out).parent
        self._count += 1
        with tempfile.TemporaryDirectory(dir=self.work, prefix="handover-") as handover:
            write_job(Path(handover), job)
            place = fault.place if fault is not None else Place("", "")
            arm = [root, log, place.call, place.path]
            arm += [fault.nth, fault.fault, fault.group] if fault is not None else [0, "", False]
            order = {
                "handover": handover,
                "log": str(self.work / "stages.log"),
                "arm": [value if isinstance(value, int | str) else str(value) for value in arm],
            }
            assert self._server.stdin is not None
            assert self._server.stdout is not None
            print(json.dumps(order), file=self._server.stdin, flush=True)
            code = int(self._server.stdout.readline())
            return Ended(code, read_error(Path(handover)))


def make_pipeline(folder: Path) -> list[Step]:
    """Write a tiny model and records, and plan curate to report on them."""
    make_tiny_model(folder / "base")
    write_records(folder / "records.jsonl", right_records(14))
    problems = [json.dumps({"id": str(i), "question": f"{i}+1?", "answer": "3"}) for i in range(3)]
    write_records(folder / "problems.jsonl", problems)
    config = Config.model_validate(
        {
            "run_dir": str(folder / "runs"),
            "model": str(folder / "base"),
            "data": [str(folder / "records.jsonl")],
            "eval_files": {"sums": str(folder / "problems.jsonl")},
            "arms": ["m1", "wmss"],
            "tables": ["methods"],
            "curate": {"workers": 1},
            "tokenize": {"system_prompt": "", "max_seq_len": 400},
            "sft": TRAINING,
            "score_entropy": {"shards": 2},
            "joint": TRAINING | {"weak_mode": "frozen", "cache_weak": True},
            "eval": {"max_new_tokens": 3, "system_prompt": "", "workers": 1, "shards": 2},
        }
    )
    # JSON is YAML.
    (folder / "run.yaml").write_text(config.model_dump_json())
    return list(plan_pipeline(config).steps)


def content_of(out: Path) -> dict[str, str]:
    """Return the hashes of an artifact that must not depend on what happened on the way."""
    manifest = verify(out)
    return {n: h for n, h in manifest.files.items() if n not in _NOT_THE_SAME_TWICE}


@dataclass
class Stage:
    """One stage of the pipeline, undisturbed: its job, its result and the places it went by."""

    label: str
    job: Job
    content: dict[str, str]
    manifest: Manifest
    places: Counter[Place]

    def to(self, folder: Path) -> Job:
        """Return the same work with its result elsewhere."""
        return replace(self.job, out=str(folder / Path(self.job.out).name))

    def check(self, job: Job) -> None:
        """Check that the result is that of the undisturbed run, to the bit."""
        assert content_of(Path(job.out)) == self.content, self.label
        made = read_manifest(Path(job.out))
        assert (made.fingerprint, made.stage) == (self.manifest.fingerprint, self.manifest.stage)


def run_undisturbed(runner: Runner, steps: list[Step]) -> list[Stage]:
    stages = []
    for step in steps:
        log = runner.work / "places.log"
        log.unlink(missing_ok=True)
        Path(step.job.out).parent.mkdir(exist_ok=True)
        ended = runner.run(step.job, log=str(log))
        assert ended.code == 0, (step.label, ended)
        places = Counter(
            Place(*line.split("\t")) for line in log.read_text().splitlines() if "\t" in line
        )
        out = Path(step.job.out)
        stages.append(Stage(step.label, step.job, content_of(out), read_manifest(out), places))
    return stages


def is_one_line(ended: Ended, *places: Path) -> bool:
    """Say whether a failure was told in one line that names a file or folder of these."""
    line = ended.line
    known = ended.error is not None and ended.error["exit_code"] != CRASHED
    named = any(str(place) in line for place in places)
    return ended.code in (3, 5, 6) and known and "\n" not in line and named and ";" in line


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder

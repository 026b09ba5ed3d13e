"""Submit a run and look after it: what a person types, reads, and gets as exit code."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands import MODEL_CONFIG, error_of, invoke, right_records, wmss, write_model, write_records
from slurm.fake_slurm import FakeSlurm
from slurm.plans import as_sent, finish, finish_shards, send_plan, small_plan, training_plan, work
from typer.testing import Result

from wmss_cli.cli import following
from wmss_cli.core.artifact import partial
from wmss_cli.core.errors import StageError
from wmss_cli.core.progress import PROGRESS, Progress
from wmss_cli.slurm.ledger import Ledger
from wmss_cli.slurm.profile import Profile, Resources
from wmss_cli.slurm.runs import remember
from wmss_cli.stages.plan import Step, check_as_planned

GPU = Resources(gpus_per_node=1, mem_gb=4)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The least configuration of a pipeline, with a model that is never loaded nor counted."""
    base = write_model(tmp_path / "base")
    (base / "config.json").write_text(json.dumps(MODEL_CONFIG | {"model_type": "own"}))
    write_records(tmp_path / "data.jsonl", right_records(4))
    write_records(tmp_path / "problems.jsonl", ['{"id": "1", "question": "1?", "answer": "1"}'])
    path = tmp_path / "run.yaml"
    path.write_text(
        "run_dir: my-run\nmodel: base\ndata: [data.jsonl]\neval_files: {sums: problems.jsonl}\n"
        "score_entropy: {shards: 3}\nlaunch: {cluster: slurm, profile: cpu}\n"
    )
    return path


@pytest.fixture
def steps(tmp_path: Path) -> list[Step]:
    return small_plan(tmp_path)


@pytest.fixture
def run(tmp_path: Path, slurm: FakeSlurm, steps: list[Step]) -> Path:
    """A small run that was sent: jobs 1 (curate), 2 (shards), 3 (merge), 4 (curriculum)."""
    folder = tmp_path / "run"
    as_sent(slurm, steps, folder, Profile(score=GPU))
    remember(folder, None)
    return folder


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def row(text: str, stage: str) -> str:
    """Return the line of a stage in a table, with single spaces."""
    (found,) = [line for line in text.splitlines() if line.startswith(f" {stage} ")]
    return " ".join(found.split())


def ok(result: Result) -> str:
    assert result.exit_code == 0, result.stderr
    return result.stdout


def sleep_by(monkeypatch: pytest.MonkeyPatch, act: Callable[[float], None]) -> None:
    """Let something happen where a command that watches would sleep."""
    monkeypatch.setattr(following, "time", SimpleNamespace(sleep=act))


# Submit.


def test_run_submits_the_whole_chain_and_returns(
    tmp_path: Path, slurm: FakeSlurm, config: Path
) -> None:
    result = invoke("run", config)
    shown = ok(result)
    scored = [f"score-{model}.{part}" for model in ("base", "m1") for part in ("0-2", "merge")]
    assert slurm.names() == [
        *("curate", "tokenize", "eval-base", "logits-base", "m1", "eval-m1", "logits-m1"),
        *(*scored, "curriculum", "wmss", "eval-wmss", "logits-wmss", "logits-wmss-weak", "report"),
    ]
    assert row(shown, "curate") == "curate 1 1 CPU 60 min"
    assert row(shown, "score-base") == "score-base 8, 9 3 x 1 CPU 60 min tokenize"
    assert max(map(len, lines(shown))) <= 80
    unknown, following = result.stderr.splitlines()
    assert unknown.startswith("m1, wmss: told to save 120 s before the limit")
    assert following == "next: wmss status my-run    (wmss logs, wmss cancel)"
    assert (tmp_path / "my-run" / "slurm" / "plan.json").is_file()
    again = invoke("run", config)
    assert "queued before" in row(ok(again), "curate")
    assert len(slurm.jobs()) == 17


def test_submitting_as_json(slurm: FakeSlurm, config: Path) -> None:
    found = json.loads(ok(invoke("run", config, "--json", "--slurm", "array_limit=2")))
    assert found[7] == {
        **{"name": slurm.last("score-base.0-2")["name"], "stage": "score-base"},
        **{"state": "sent", "jobs": ["8"], "tasks": 3, "later": 0},
    }
    assert slurm.last("score-base.0-2")["options"]["array"] == "0-2%2"


def test_one_stage_can_be_submitted_too(tmp_path: Path, slurm: FakeSlurm, config: Path) -> None:
    out = tmp_path / "single" / "curated"
    result = invoke("curate", "-c", config, "-o", out, "--slurm", "cpu.time_limit_min=90")
    assert row(ok(result), "curated") == "curated 1 1 CPU 90 min"
    assert slurm.last("curated")["options"]["time"] == "90"
    assert Ledger(tmp_path / "single").has_plan()


def test_a_dry_run_shows_the_scripts_and_submits_nothing(
    tmp_path: Path, slurm: FakeSlurm, config: Path
) -> None:
    result = invoke("run", config, "--dry-run")
    shown = ok(result)
    assert shown.count("#!/bin/bash") == 17
    assert "#SBATCH --array=0-2%3" in shown
    assert result.stderr.count("sbatch --test-only: would start at 2026-11-24T19:37:33") == 17
    assert result.stderr.endswith("Nothing was submitted.\n")
    assert slurm.jobs() == []
    assert not (tmp_path / "my-run").exists()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("data.jsonl", '{"text": "a"}', "no records among its first rows"),
        ("data.jsonl", "", "no records; check that this is the right file"),
        ("problems.jsonl", '{"id": "1", "question": "1?"}', "no 'answer'; a row needs id"),
        ("problems.jsonl", "version https://git-lfs.github.com/spec/v1\n", "a git-lfs pointer"),
    ],
)
def test_what_no_job_could_read_is_refused_before_any_is_sent(
    config: Path, tmp_path: Path, slurm: FakeSlurm, name: str, content: str, problem: str
) -> None:
    (tmp_path / name).write_text(content)
    for options in ((), ("--dry-run",)):
        result = invoke("run", config, *options)
        assert result.exit_code == 3
        assert f"{tmp_path / name}" in result.stderr
        assert problem in result.stderr
    assert slurm.jobs() == []
    assert not (tmp_path / "my-run").exists()


def test_a_dry_run_before_anything_is_here_is_provisional(tmp_path: Path, slurm: FakeSlurm) -> None:
    path = tmp_path / "later.yaml"
    path.write_text(
        "run_dir: runs\nmodel: Qwen3-4B-Base\ndata: [am.jsonl.zst]\ntasks: [gsm8k]\n"
        "task_data: benchmarks\ncurate: {shards: 2}\narms: [base, wmss, continued_sft_flops]\n"
        "launch: {cluster: slurm, profile: cpu}\n"
    )
    result = invoke("run", path, "--dry-run")
    shown = ok(result)
    names = [line for line in lines(result.stderr) if line.startswith("wmss-")]
    assert len(names) == shown.count("#!/bin/bash") > 10
    assert all(name.endswith(" (provisional)") for name in names)
    missing = [tmp_path / name for name in ("Qwen3-4B-Base", "am.jsonl.zst", "benchmarks")]
    said = f"Missing: {missing[0]}, {missing[1]}, {missing[2]}/gsm8k.jsonl. Everything made from"
    assert said in result.stderr
    assert slurm.jobs() == []
    assert not (tmp_path / "runs").exists()
    # What is meant to run is refused as ever.
    refused = error_of(invoke("run", path))
    assert refused == (
        f"{missing[2]}/gsm8k.jsonl: no such evaluation file; check task_data, the folder of the "
        "files that 'wmss data fetch' writes"
    )


def test_a_dry_run_that_slurm_would_refuse_is_exit_code_4(slurm: FakeSlurm, config: Path) -> None:
    slurm.refuse("wmss-eval", "Invalid qos specification")
    result = invoke("run", config, "--dry-run")
    assert result.exit_code == 4
    last = lines(result.stderr)[-1]
    assert last == "error: Slurm would refuse 3 of these jobs; change the profile"
    assert slurm.jobs() == []


def test_a_job_that_slurm_refuses_is_exit_code_4(slurm: FakeSlurm, config: Path) -> None:
    slurm.refuse("wmss-tokenize", "Invalid qos specification")
    result = invoke("run", config)
    assert result.exit_code == 4
    said = error_of(result)
    assert said.startswith("sbatch: wmss-tokenize-")
    assert ": Invalid qos specification; 1 of 17 jobs are sent and stay in the queue; " in said
    assert slurm.names() == ["curate"]
    # It is known by name.
    (known,) = json.loads(ok(invoke("runs", "--json")))
    assert Path(known["run_dir"]).name == "my-run"
    assert "curate (1)" in invoke("cancel", "my-run").stderr


def test_a_run_of_which_slurm_takes_no_job_is_no_run(
    tmp_path: Path, slurm: FakeSlurm, config: Path
) -> None:
    slurm.refuse("wmss-", "Invalid account")
    assert invoke("run", config).exit_code == 4
    assert json.loads(ok(invoke("runs", "--json"))) == []
    assert not (tmp_path / "my-run" / "study.json").exists()


def test_what_may_not_be_submitted_yet_is_sent_by_wait(
    tmp_path: Path,
    slurm: FakeSlurm,
    steps: list[Step],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Let the first job that waits be done at each look."""
    few = ("--slurm", "max_submitted=2")
    send_plan(steps, tmp_path, Profile(max_submitted=2))
    remember(tmp_path / "run", None)
    shown = ok(invoke("status", "run"))
    assert row(shown, "curriculum") == "curriculum will be sent later"
    assert "note: 4 jobs will be sent later (max_submitted: 2)" in " ".join(shown.split())
    result = invoke("retry", "run", *few)
    assert "4 jobs will be sent later (max_submitted: 2): by --wait" in result.stderr
    shards = iter(range(3))
    sleep_by(monkeypatch, lambda _: work(slurm, steps, shards))
    result = invoke("retry", "run", *few, "--wait")
    assert result.exit_code == 0, result.stderr
    assert all(Path(step.job.out, "manifest.json").is_file() for step in steps)
    assert sum(len(job["tasks"]) for job in slurm.jobs()) == 6


LIMIT = "Job violates accounting/QOS policy (AssocMaxSubmitJobLimit)"


@pytest.mark.parametrize("refused_s", [50, 200])
def test_wait_tries_again_where_slurm_takes_no_more_for_a_while(
    tmp_path: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch, refused_s: float
) -> None:
    steps = training_plan(tmp_path)
    send_plan(steps, tmp_path, Profile(max_submitted=1))
    remember(tmp_path / "run", None)
    slurm.refuse("wmss-sft", LIMIT)
    slept: list[float] = []

    def act(seconds: float) -> None:
        slept.append(seconds)
        if sum(slept) > refused_s:
            slurm.refuse("", "")
        work(slurm, steps, iter(()))

    sleep_by(monkeypatch, act)
    monkeypatch.setattr(following, "_REFUSED_S", 100.0)
    result = invoke("retry", "run", "--slurm", "max_submitted=1", "--wait")
    assert result.stderr.count("the rest is not sent yet: sbatch: ") == 1
    if refused_s < 100:
        assert result.exit_code == 0, result.stderr
        assert all(Path(step.job.out, "manifest.json").is_file() for step in steps)
    else:
        # Not for ever.
        assert result.exit_code == StageError.exit_code
        assert 100 < sum(slept) < 200


def test_what_is_not_sent_yet_can_be_cancelled(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step]
) -> None:
    send_plan(steps, tmp_path, Profile(max_submitted=2))
    result = invoke("cancel", tmp_path / "run", "--yes")
    assert result.stderr.startswith("Cancelled 2 jobs, and 3 that were not sent yet. 'wmss retry")
    assert Ledger(tmp_path / "run").later() == {}
    assert len(slurm.jobs()) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--profile", "h900"], 3, "--profile h900: there are cpu, "),
        (["--slurm", "trian.nodes=2"], 3, "--slurm trian.nodes: unknown key trian"),
        (["--slurm", "train.nodes"], 3, "--slurm train.nodes: expected KEY=VALUE, as in train."),
        (["--cluster", "local", "--dry-run"], 3, "--dry-run is for jobs; add --cluster slurm"),
        (["--cluster", "local", "--slurm", "qos=a"], 3, "--slurm is for jobs; add --cluster slurm"),
        (["--set", "launch.profile=null"], 3, "--cluster slurm needs a profile: --profile h800"),
    ],
)
def test_what_cannot_be_submitted_is_said_in_one_line(
    slurm: FakeSlurm, config: Path, arguments: list[str], code: int, line: str
) -> None:
    result = invoke("run", config, *arguments)
    assert result.exit_code == code
    assert error_of(result).startswith(line)
    assert slurm.jobs() == []


def test_a_profile_of_the_configuration_lies_beside_it(
    tmp_path: Path, slurm: FakeSlurm, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text("variants: {long: {cpu: {time_limit_min: 99}}}\n")
    config.write_text(config.read_text().replace("profile: cpu", 'profile: "mine.yaml:long"'))
    monkeypatch.chdir("/")
    ok(invoke("curate", "-c", config, "-o", tmp_path / "curated"))
    assert slurm.last("curated")["options"]["time"] == "99"


# Status.


@pytest.mark.usefixtures("run")
def test_status_shows_a_row_for_each_stage(slurm: FakeSlurm, steps: list[Step]) -> None:
    now = time.time()
    start = datetime.fromtimestamp(now - 100).isoformat(timespec="seconds")
    finish(steps[0].job)
    finish_shards(steps[1], [0])
    slurm.move("1", "COMPLETED")
    slurm.move("2_0", "COMPLETED", elapsed_s=3600, cpu="00:30:00", rss="3G")
    slurm.move("2_1", "RUNNING", start=start, elapsed="1:40", left="5:00")
    folder = partial(Path(f"{steps[1].job.out}.shards/00001-of-00003"))
    folder.mkdir()
    progress = Progress(
        **{"unit": "samples", "done": 300, "total": 900, "resumed_at": 0},
        **{"metrics": {"tokens_per_s": 1234.0}, "started": now - 60, "updated": now},
    )
    (folder / PROGRESS).write_text(progress.model_dump_json())
    result = invoke("status", "run")
    shown = ok(result)
    assert result.stderr == ""
    assert row(shown, "curate").startswith("curate done")
    assert "1/4, 1 run" in row(shown, "score")
    # Where there is no room, the words of a state count more.
    assert "CPU/mem" not in shown
    assert max(map(len, lines(shown))) <= 80
    text = " ".join(shown.split())
    assert "300/900" in text
    assert "1,234 tok/s" in text
    assert "waits for its input" in text
    assert "run: running, 1.03 GPU-hours (at " in text


def test_status_says_how_a_training_goes(tmp_path: Path, slurm: FakeSlurm) -> None:
    now = time.time()
    steps = training_plan(tmp_path)
    as_sent(slurm, steps, tmp_path / "run")
    remember(tmp_path / "run", None)
    slurm.move("2", "RUNNING", start=datetime.fromtimestamp(now - 99).isoformat("T", "seconds"))
    folder = partial(Path(steps[1].job.out))
    folder.mkdir(parents=True)
    shares = {"mfu": 0.43, "share_of_limit": 0.64}
    live = {"loss": 0.512, "tokens_per_s": 1234.0, **shares, "peak_memory_gb": 61.2}
    progress = Progress(
        **{"unit": "steps", "done": 30, "total": 90, "resumed_at": 0},
        **{"metrics": live | {"seconds_left": 75.0}, "started": now - 60, "updated": now},
    )
    (folder / PROGRESS).write_text(progress.model_dump_json())
    shown = ok(invoke("status", "run"))
    assert "sft: loss 0.512, 1,234 tok/s, MFU 43%, 64% of attainable, 61.2 GB" in lines(shown)
    assert "30/90 steps, 1:15 min left" in " ".join(shown.split())
    assert max(map(len, lines(shown))) <= 80
    sft = json.loads(ok(invoke("status", "run", "--json")))["stages"][1]
    assert (sft["left_s"], sft["progress"]["metrics"]["share_of_limit"]) == (75, 0.64)


def test_status_through_a_pipe_has_no_escape_codes_and_fits(run: Path, slurm: FakeSlurm) -> None:
    slurm.move("2_1", "FAILED", exit="1:0", elapsed_s=60)
    log = run / "slurm" / slurm.last("score.0-2")["name"] / "2_1_0_log.out"
    log.write_text("".join(f"{letter * 200}\n" for letter in "abc"))
    done = wmss("status", "run")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    # What is copied stays whole, all else fits.
    whole = [line for line in done.stdout.splitlines() if line.startswith(("  log:", "  fix:"))]
    assert whole[0] == f"  log:  {log}"
    assert whole[1].startswith("  fix: fix setup or python of the profile (see the log), then: ")
    others = [line for line in lines(done.stdout) if not line.startswith("  ")]
    assert max(map(len, others)) <= 80, done.stdout


def test_status_as_json(run: Path, slurm: FakeSlurm) -> None:
    slurm.move("1", "OUT_OF_MEMORY", exit="0:125", elapsed_s=60)
    found = json.loads(ok(invoke("status", run, "--json")))
    assert (found["run_dir"], found["state"], found["notes"]) == (str(run), "failed", [])
    curate, score, _ = found["stages"]
    assert (curate["label"], curate["state"], curate["jobs"]) == ("curate", "failed", ["1"])
    assert curate["failure"]["why"] == "out of memory"
    assert curate["failure"]["fix"].startswith("wmss retry run --slurm cpu.mem_gb=")
    assert score["state"] == "cancelled"


@pytest.mark.usefixtures("run")
def test_status_says_what_fixes_a_failure(slurm: FakeSlurm) -> None:
    slurm.move("2", "TIMEOUT", elapsed_s=3600)
    shown = ok(invoke("status"))
    assert "score (job 2_0): reached its time limit" in shown
    assert "fix: wmss retry run --slurm score.time_limit_min=120" in shown
    # What could not start because of it needs no fixing of its own.
    assert shown.count("fix:") == 1


@pytest.mark.usefixtures("run")
def test_status_costs_two_calls(slurm: FakeSlurm) -> None:
    slurm.move("1", "FAILED", elapsed_s=60)
    sent = {command: len(slurm.calls(command)) for command in ("squeue", "sacct", "scontrol")}
    ok(invoke("status", "run"))
    calls = {command: len(slurm.calls(command)) for command in sent}
    assert calls == sent | {"squeue": sent["squeue"] + 1, "sacct": sent["sacct"] + 1}


@pytest.mark.usefixtures("run")
def test_status_without_an_answer_is_a_note(slurm: FakeSlurm) -> None:
    slurm.answer("squeue", stderr="slurm_load_jobs error: Unable to contact controller", code=1)
    shown = " ".join(ok(invoke("status", "run")).split())
    assert "note: the queue is not known: squeue: slurm_load_jobs error: Unable to" in shown


def test_status_of_nothing_is_exit_code_3(slurm: FakeSlurm) -> None:
    result = invoke("status")
    assert result.exit_code == 3
    assert error_of(result).startswith("no run was submitted yet; 'wmss run CONFIG --cluster")
    result = invoke("status", "nowhere")
    assert result.exit_code == 3
    assert error_of(result) == "nowhere: no run of this name or folder; 'wmss runs' lists yours"
    assert slurm.calls("squeue") == []


@pytest.mark.usefixtures("run")
def test_watching_ends_with_the_run_and_prints_what_changed(
    slurm: FakeSlurm, steps: list[Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    def next_thing(_: float) -> None:
        if slurm.states("1") == ["PENDING"]:
            slurm.move("1", "RUNNING")
        else:
            slurm.move("1", "FAILED", exit="1:0")

    sleep_by(monkeypatch, next_thing)
    result = invoke("status", "run", "--watch")
    assert "failed" in ok(result)
    assert lines(result.stderr)[:1] == ["curate: waits: others come first"]
    assert lines(result.stderr)[3:] == [
        "curate: running",
        "curate: failed with exit code 1",
        "score: cannot start: an earlier stage failed",
        "curriculum: cannot start: an earlier stage failed",
    ]
    assert not Path(steps[0].job.out).exists()


def test_wait_ends_with_the_exit_code_of_a_failed_stage(
    tmp_path: Path, slurm: FakeSlurm, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep_by(monkeypatch, lambda _: slurm.move("1", "FAILED", exit="1:0"))
    result = invoke("curate", "-c", config, "-o", tmp_path / "my-run" / "curated", "--wait")
    assert result.exit_code == 5
    last = lines(result.stderr)[-1]
    assert last == (
        "error: curated: failed with exit code 1; fix setup or python of the profile (see the "
        "log), then: wmss retry my-run --profile FILE"
    )


def test_a_shard_that_is_sent_by_hand_is_done_when_it_exists(
    tmp_path: Path, slurm: FakeSlurm, config: Path
) -> None:
    shard = ("--shards", "2", "--shard", "1")
    ok(invoke("curate", "-c", config, "-o", tmp_path / "my-run" / "curated", *shard))
    (step,) = Ledger(tmp_path / "my-run").read_plan().steps()
    check_as_planned(step.job, step.fingerprint)
    finish(step.job)
    slurm.move("1", "COMPLETED")
    (stage,) = json.loads(ok(invoke("status", "my-run", "--json")))["stages"]
    assert stage["state"] == "done"


def test_ctrl_c_detaches_and_leaves_the_jobs(
    tmp_path: Path, slurm: FakeSlurm, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    sleep_by(monkeypatch, interrupt)
    result = invoke("curate", "-c", config, "-o", tmp_path / "my-run" / "curated", "--wait")
    assert result.exit_code == 130
    assert lines(result.stderr)[-1] == (
        "error: detached, the jobs continue: 'wmss status my-run' shows them, "
        "'wmss cancel my-run' ends them"
    )
    assert slurm.calls("scancel") == []


# Logs.


def test_logs_prints_the_end_of_the_newest_log(run: Path, slurm: FakeSlurm) -> None:
    log = run / "slurm" / slurm.last("curate")["name"] / "1_0_log.out"
    log.write_text("".join(f"line {i} [red]\n" for i in range(100)))
    result = invoke("logs", "run", "curate", "-n", "2")
    assert ok(result) == "line 98 [red]\nline 99 [red]\n"
    assert result.stderr == f"{log}\n"
    assert len(ok(invoke("logs", "run", "curate")).splitlines()) == 50


def test_logs_that_do_not_exist(run: Path) -> None:
    for arguments, line in (
        (["curate"], "curate: no log yet; 'wmss status' says what it waits for"),
        (["joint"], "joint: no such stage; this run has curate, score, curriculum"),
    ):
        result = invoke("logs", run, *arguments)
        assert result.exit_code == 3
        assert error_of(result) == line


# Cancel and retry.


@pytest.mark.usefixtures("run")
def test_cancel_asks_first(slurm: FakeSlurm) -> None:
    result = invoke("cancel", "run")
    assert result.exit_code == 1
    asked = "Cancel 4 jobs: curate (1), score (2), score (3), curriculum (4)?"
    assert asked in result.stderr
    assert result.stdout.strip() == ""
    assert slurm.calls("scancel") == []


def test_cancel_by_one_call(run: Path, slurm: FakeSlurm) -> None:
    result = invoke("cancel", "run", "--yes")
    assert ok(result) == ""
    assert result.stderr == "Cancelled 4 jobs. 'wmss retry run' continues the run.\n"
    assert slurm.calls("scancel") == [["4", "3", "2", "1"]]
    assert invoke("cancel", run, "-y").stderr == "No job waits or runs.\n"
    assert len(slurm.calls("scancel")) == 1


def test_cancel_one_stage(run: Path, slurm: FakeSlurm) -> None:
    ok(invoke("cancel", run, "curriculum", "-y"))
    assert slurm.calls("scancel") == [["4"]]
    result = invoke("cancel", run, "joint", "-y")
    assert result.exit_code == 3
    assert error_of(result).startswith("joint: no such stage; this run has curate, ")


def test_retry_sends_what_failed_with_the_runs_own_profile(
    run: Path, slurm: FakeSlurm, steps: list[Step]
) -> None:
    finish(steps[0].job)
    slurm.move("1", "COMPLETED")
    slurm.move("2_0", "TIMEOUT")
    slurm.move("2_1", "RUNNING")
    result = invoke("retry", "run", "--slurm", "score.time_limit_min=120")
    assert "1 GPU 2 h" in row(ok(result), "score")
    assert slurm.names()[4:] == ["score.0-2", "score.merge", "curriculum"]
    again = slurm.last("score.0-2")["options"]
    assert (again["time"], again["gres"], again["mem"]) == ("120", "gpu:1", "4G")
    # The change stays with the run.
    assert Ledger(run).read_plan().groups[0].profile.score.time_limit_min == 120
    assert "queued before" in row(ok(invoke("retry", "run")), "curriculum")
    assert len(slurm.jobs()) == 7


def test_retry_of_what_is_done_submits_nothing(
    run: Path, slurm: FakeSlurm, steps: list[Step]
) -> None:
    for step in steps:
        finish(step.job)
    (before,) = json.loads(ok(invoke("runs", "--json")))
    result = invoke("retry", run)
    assert (ok(result), result.stderr) == ("", "Everything is done; there is nothing to submit.\n")
    # It was sent when it was sent.
    (after,) = json.loads(ok(invoke("runs", "--json")))
    assert (after["time"], after["done"]) == (before["time"], 3)
    assert len(slurm.jobs()) == 4


def test_retry_can_be_tried_dry(run: Path, slurm: FakeSlurm) -> None:
    slurm.move("1", "FAILED")
    result = invoke("retry", run, "--dry-run", "--slurm", "account=lab")
    assert ok(result).count("#SBATCH --account=lab") == 4
    assert len(slurm.jobs()) == 4
    assert Ledger(run).read_plan().groups[0].profile.account is None


def test_retry_is_for_jobs(run: Path) -> None:
    result = invoke("retry", run, "--cluster", "local")
    assert result.exit_code == 3
    assert error_of(result).startswith("retry is for submitted runs; run the command again")


# The list of runs.


def test_runs_lists_them_the_newest_first(tmp_path: Path, run: Path, slurm: FakeSlurm) -> None:
    other = tmp_path / "[b]old"
    other.mkdir()
    as_sent(slurm, small_plan(other), other)
    remember(other, None)
    before = len(slurm.calls("squeue"))
    shown = ok(invoke("runs"))
    assert len(slurm.calls("squeue")) == before + 1
    assert [line.split()[0] for line in lines(shown) if "done, " in line] == ["[b]old", "run"]
    assert "0/3 done, 6 jobs" in shown
    found = json.loads(ok(invoke("runs", "--json")))
    assert [entry["run_dir"] for entry in found] == [str(other), str(run)]
    assert [entry["jobs"] for entry in found] == [6, 6]


def test_no_runs_are_an_empty_list(slurm: FakeSlurm) -> None:
    assert json.loads(ok(invoke("runs", "--json"))) == []
    assert ok(invoke("runs")).split()[:4] == ["run", "sent", "stages", "folder"]
    assert slurm.jobs() == []


@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize("verify", ["true", "false"])
def test_the_jobs_know_whether_to_verify_their_inputs(
    config: Path, monkeypatch: pytest.MonkeyPatch, verify: str
) -> None:
    monkeypatch.chdir(config.parent)
    result = invoke("run", config, "--set", f"verify_inputs={verify}")
    assert result.exit_code == 0, result.stderr
    orders = sorted(config.parent.glob("my-run/slurm/*/order-*.json"))
    jobs = [job for path in orders for job in json.loads(path.read_text())["jobs"]]
    assert {job["verify_inputs"] for job in jobs} == {verify == "true"}

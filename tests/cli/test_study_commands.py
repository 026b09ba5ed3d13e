"""A study on a cluster: its arms and seeds by name, and a large one at a glance."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from commands import invoke, right_records, write_model, write_records
from slurm.fake_slurm import FakeSlurm
from slurm.plans import as_sent, finish
from typer.testing import Result

from wmss_cli.core.config import Config
from wmss_cli.core.errors import StageError
from wmss_cli.results.study import write_study
from wmss_cli.slurm.ledger import Ledger
from wmss_cli.slurm.runs import remember
from wmss_cli.stages.catalogue import CATALOGUE
from wmss_cli.stages.pipeline import StudyPlan, plan_pipeline


def ok(result: Result) -> str:
    assert result.exit_code == 0, result.stderr
    return result.stdout


@pytest.fixture
def files(tmp_path: Path) -> dict[str, object]:
    """What a study needs, with a model that is never loaded."""
    write_model(tmp_path / "base")
    data = write_records(tmp_path / "data.jsonl", right_records(4))
    problems = ['{"id": "1", "question": "1?", "answer": "1"}']
    tasks = write_records(tmp_path / "problems.jsonl", problems)
    return {
        "run_dir": str(tmp_path / "study"),
        "model": str(tmp_path / "base"),
        "data": [str(data)],
        "eval_files": {"sums": str(tasks)},
    }


@pytest.fixture
def study(tmp_path: Path, slurm: FakeSlurm, files: dict[str, object]) -> StudyPlan:
    """Three arms and two seeds that were sent."""
    plan = plan_pipeline(Config(**files, arms=["base", "continued_sft", "wmss"], seeds=[0, 1]))
    as_sent(slurm, plan.steps, tmp_path / "study")
    remember(tmp_path / "study", None)
    return plan


def cancelled(slurm: FakeSlurm) -> set[str]:
    jobs = zip(slurm.names(), slurm.jobs(), strict=True)
    return {name for name, job in jobs if slurm.states(job["id"]) == ["CANCELLED"]}


def labels(*arguments: str) -> list[str]:
    found = json.loads(ok(invoke("status", "study", "--json", *arguments)))
    return [stage["label"] for stage in found["stages"]]


def test_status_of_an_arm_and_a_seed(study: StudyPlan) -> None:
    assert labels() == [step.label for step in study.steps]
    assert labels("--arm", "wmss", "--seed", "1") == [
        *("curate", "tokenize", "score-base", "m1/s1", "score-m1/s1", "curriculum/s1"),
        *("wmss/s1", "eval-wmss/s1", "logits-wmss/s1", "logits-wmss-weak/s1"),
    ]
    assert labels("--arm", "base") == ["curate", "tokenize", "eval-base", "logits-base"]
    shown = ok(invoke("status", "study", "--arm", "continued_sft"))
    assert "continued_sft/s0" in shown
    assert "wmss" not in shown


@pytest.mark.parametrize("command", ["status", "retry", "cancel"])
@pytest.mark.usefixtures("study")
def test_a_part_that_the_study_does_not_have(command: str) -> None:
    for option, value, known in (
        ("--arm", "wms", "base, continued_sft, wmss"),
        ("--seed", "3", "0, 1"),
        ("--model", "8b", "no models"),
    ):
        result = invoke(command, "study", option, value)
        assert result.exit_code == 3
        assert f"{option} {value}: the study has {known}" in result.stderr


@pytest.mark.usefixtures("study")
def test_cancel_leaves_what_others_need(slurm: FakeSlurm) -> None:
    ok(invoke("cancel", "study", "--arm", "wmss", "--seed", "1", "--yes"))
    assert cancelled(slurm) == {
        *("score-m1-s1", "curriculum-s1", "wmss-s1"),
        *("eval-wmss-s1", "logits-wmss-s1", "logits-wmss-weak-s1"),
    }


def test_retry_of_an_arm_sends_what_that_arm_needs(study: StudyPlan, slurm: FakeSlurm) -> None:
    ok(invoke("cancel", "study", "--yes"))
    before = len(slurm.jobs())
    ok(invoke("retry", "study", "--arm", "continued_sft", "--seed", "0"))
    assert [job["name"].split("-", 1)[1].rsplit("-", 1)[0] for job in slurm.jobs()[before:]] == [
        *("curate", "tokenize", "m1-s0", "continued_sft-s0"),
        *("eval-continued_sft-s0", "logits-continued_sft-s0"),
    ]
    assert labels() == [step.label for step in study.steps], "the plan is still the whole study"


def test_an_arm_with_another_profile_and_the_rest_still_wait_for_each_other(
    study: StudyPlan, slurm: FakeSlurm
) -> None:
    ok(invoke("cancel", "study", "--yes"))
    ok(invoke("retry", "study", "--arm", "wmss", "--seed", "0", "--slurm", "cpu.mem_gb=9"))
    # The rest needs what that arm has sent: curation, the model M1.
    before = len(slurm.jobs())
    ok(invoke("retry", "study"))
    new = {job["name"]: job["options"] for job in slurm.jobs()[before:]}
    ids = {job["name"].rsplit("-", 1)[0]: job["id"] for job in slurm.jobs()}
    assert set(labels()) == {step.label for step in study.steps}
    trained = next(options for name, options in new.items() if "continued_sft-s0" in name)
    assert ids["wmss-m1-s0"] in trained["dependency"].split(":")
    assert not [name for name in new if name.startswith(("wmss-curate", "wmss-m1-s0"))]
    # All of it is in the queue once.
    before = len(slurm.jobs())
    ok(invoke("retry", "study"))
    assert len(slurm.jobs()) == before


@pytest.mark.usefixtures("study")
def test_the_log_of_an_arms_training(slurm: FakeSlurm, tmp_path: Path) -> None:
    job = slurm.last("wmss-s1")
    log = tmp_path / "study" / "slurm" / job["name"] / f"{job['id']}_0_log.out"
    log.write_text("step 7\n")
    for arguments in (
        ["wmss/s1"],
        ["--arm", "wmss", "--seed", "1"],
        ["wmss", "--seed", "1"],
    ):
        assert ok(invoke("logs", "study", *arguments)) == "step 7\n"
    result = invoke("logs", "study", "wmss")
    assert "wmss: 2 stages have this name; one is wmss/s0" in result.stderr
    result = invoke("logs", "study")
    assert "which stage?" in result.stderr


def test_a_report_of_an_unfinished_study_says_what_failed(
    study: StudyPlan, slurm: FakeSlurm, tmp_path: Path
) -> None:
    run_dir = tmp_path / "study"
    artifacts = {step.label: step.job.out for step in study.steps}
    write_study(run_dir, study.study, artifacts, ["wmss run study.yaml"])
    slurm.move(slurm.last("wmss-s1")["id"], "OUT_OF_MEMORY", exit="0:125")
    ok(invoke("report", run_dir, "--out", tmp_path / "page"))
    found = json.loads((tmp_path / "page" / "results.json").read_text())
    missing = {one["label"]: one for one in found["missing"]}
    assert missing["wmss/s1"]["state"] == "failed"
    assert missing["wmss/s1"]["detail"] == "out of memory"
    assert missing["wmss/s0"]["state"] == "not begun"


@pytest.mark.slow
def test_a_large_study_is_a_table_of_arms_and_seeds(
    tmp_path: Path, slurm: FakeSlurm, files: dict[str, object]
) -> None:
    for value, name in enumerate(("b", "c"), 1):
        write_model(tmp_path / name, value)
    models = {"a": files.pop("model"), "b": str(tmp_path / "b"), "c": str(tmp_path / "c")}
    begin = time.monotonic()
    plan = plan_pipeline(Config(**files, models=models, arms=list(CATALOGUE), seeds=[0, 1, 2]))
    assert time.monotonic() - begin < 5, "a plan must not take longer"
    as_sent(slurm, plan.steps, tmp_path / "study")
    remember(tmp_path / "study", None)
    finish(plan.steps[0].job)
    begin = time.monotonic()
    shown = ok(invoke("status", "study"))
    assert time.monotonic() - begin < 2 * 5, "2 s alone; five times that on a busy machine"
    rows = [line.split() for line in shown.splitlines() if " wmss " in line]
    assert [row[:2] for row in rows] == [["a", "wmss"], ["b", "wmss"], ["c", "wmss"]]
    assert all(row[2:4] == ["waiting", "1/10"] for row in rows)
    assert max(map(len, shown.splitlines())) <= 80
    assert len(shown.splitlines()) < 80


def test_an_arm_that_is_added_while_jobs_wait_is_all_that_is_sent(
    tmp_path: Path, slurm: FakeSlurm, files: dict[str, object]
) -> None:
    values = {**files, "launch": {"cluster": "slurm", "profile": "cpu"}}
    config = tmp_path / "study.yaml"
    config.write_text(json.dumps({**values, "arms": ["continued_sft", "wmss"], "seeds": [0]}))
    ok(invoke("run", config))
    before = len(slurm.jobs())
    config.write_text(
        json.dumps({**values, "arms": ["continued_sft", "wmss", "ceda"], "seeds": [0, 1]})
    )
    result = invoke("run", config)
    ok(result)
    new = [job["name"] for job in slurm.jobs()[before:]]
    first_seed = [name for name in new if "-s0-" in name]
    assert [name.split("-s0-")[0] for name in first_seed] == [
        *("wmss-ceda", "wmss-eval-ceda", "wmss-logits-ceda")
    ]
    reports = [job for job in slurm.jobs() if job["name"].startswith("wmss-report-")]
    assert [slurm.states(job["id"]) for job in reports] == [["CANCELLED"], ["PENDING"]]
    assert "is cancelled: the report waits for the study as it is now" in result.stderr
    assert Ledger(tmp_path / "study").read_plan().steps()[-1].label == "report"


def test_jobs_are_known_again_whatever_their_steps_are_called_now(
    tmp_path: Path, slurm: FakeSlurm, files: dict[str, object]
) -> None:
    values = {**files, "launch": {"cluster": "slurm", "profile": "cpu"}}
    config = tmp_path / "study.yaml"

    def sent(**more: object) -> list[str]:
        config.write_text(json.dumps({**values, **more}))
        before = len(slurm.jobs())
        ok(invoke("run", config))
        names = [job["name"] for job in slurm.jobs()[before:]]
        return [name.removeprefix("wmss-").rsplit("-", 1)[0] for name in names]

    lam = {"like": "wmss", "curriculum.alpha": 0.4}
    assert "wmss" in sent(arms=["wmss"])
    assert sent(arms=["wmss"], seeds=[0]) == ["report"], "seed 0 is what no seeds are"
    assert sent(arms={"lam": lam, "wmss": None}, seeds=[0]) == [
        *("curriculum-s0", "lam-s0", "eval-lam-s0", "logits-lam-s0", "logits-lam-weak-s0"),
        "report",
    ]
    assert sent(arms={"wmss": None, "lam": lam}, seeds=[0]) == ["report"], "the order alone"
    waiting = {
        stage["state"] for stage in json.loads(ok(invoke("status", "study", "--json")))["stages"]
    }
    assert waiting == {"waiting"}


@pytest.mark.usefixtures("slurm")
def test_the_study_is_written_down_before_it_is_waited_for(
    tmp_path: Path, files: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    def follow(run_dir: Path, _: object) -> bool:
        seen.append((run_dir / "study.json").is_file())
        raise StageError("a stage failed")

    monkeypatch.setattr("wmss_cli.cli.following.follow", follow)
    values = {**files, "launch": {"cluster": "slurm", "profile": "cpu"}}
    config = tmp_path / "study.yaml"
    config.write_text(json.dumps(values))
    assert invoke("run", config, "--dry-run").exit_code == 0
    assert not (tmp_path / "study" / "study.json").exists()
    assert invoke("run", config, "--wait").exit_code == 5
    assert seen == [True]


def test_an_input_that_changes_while_stages_run_ends_the_run(
    tmp_path: Path, files: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the next stages would work with it under the names of other work."""

    def written(*_: object) -> None:
        (tmp_path / "data.jsonl").write_text("{}\n")

    monkeypatch.setattr("wmss_cli.results.study.write_study", written)
    config = tmp_path / "study.yaml"
    config.write_text(json.dumps(files))
    result = invoke("run", config)
    assert result.exit_code == 3
    assert "an input (data-0000) has changed since this was planned" in result.stderr
    assert not list((tmp_path / "study").glob("curate-*"))


def test_what_an_arm_cannot_be_is_said_with_its_line(
    tmp_path: Path, files: dict[str, object]
) -> None:
    config = tmp_path / "study.yaml"
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in files.items())
    config.write_text(f"{text}arms:\n  wmss:\n  lam: {{like: wmss, joint.mix_lamda: 0.4}}\n")
    work = ["--profile", "h800:8b", "--samples", "10", "--mean-tokens", "10"]
    for command, *options in (["arms"], ["run"], ["plan", *work]):
        result = invoke(command, config, *options)
        assert result.exit_code == 3
        assert result.stderr.splitlines()[-1] == (
            f"error: {config}:7: arm lam: joint.mix_lamda: no such option; did you mean mix_lambda?"
        )
    config.write_text(f"{text}arms:\n  wmss:\n  lam: {{like: ceda, joint.mix_lambda: 0.4}}\n")
    for command, *options in (["arms"], ["run"], ["plan", *work]):
        result = invoke(command, config, *options)
        assert result.exit_code == 3
        assert "joint.mix_lambda changes nothing in what it trains" in result.stderr
    config.write_text(f"{text}arms:\n  wmss:\n  lam: {{like: wmss, joint.mix_lambda: 0.4}}\n")
    result = invoke("arms", config, "--set", "arms.lam.joint.mix_lambda=7")
    where = "error: --set arms.lam.joint.mix_lambda: arm lam: joint.mix_lambda: input should be"
    assert result.stderr.startswith(where)


def test_arms_show_what_differs_and_share_what_is_the_same(
    tmp_path: Path, files: dict[str, object]
) -> None:
    arms = {
        "wmss": {"joint.epochs": 2.0},
        "same": {"like": "softening"},
        "flat": {"like": "wmss", "curriculum.alpha": 0.0, "for": "[/] is no markup"},
    }
    config = tmp_path / "study.yaml"
    config.write_text(json.dumps({**files, "arms": arms}))
    shown = ok(invoke("arms", config))
    assert "mixed logits: the method; joint.epochs=2.0" in shown
    assert "as softening" in shown
    assert "[/] is no markup" in shown
    assert "One M1 for each seed: wmss, same, flat." in shown
    assert "One draw of the active set for each seed: wmss, same." in shown
    assert "[/]" in ok(invoke("config", "show", "-c", config))


def test_an_arm_may_be_called_like_a_seed(
    tmp_path: Path, slurm: FakeSlurm, files: dict[str, object]
) -> None:
    plan = plan_pipeline(Config(**files, arms={"s1": {"like": "ceda"}}))
    as_sent(slurm, plan.steps, tmp_path / "study")
    remember(tmp_path / "study", None)
    assert "s1: no log yet" in invoke("logs", "study", "s1").stderr
    assert "wmss: no such stage" in invoke("logs", "study", "wmss").stderr

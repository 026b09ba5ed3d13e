"""The ledger of a run: what was intended and sent, alone, private, and robust."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from slurm.plans import small_plan

from wmss_cli.core.errors import ConfigError, IntegrityError
from wmss_cli.slurm import ledger as ledger_module
from wmss_cli.slurm.ledger import Group, Ledger, RunPlan
from wmss_cli.slurm.profile import Profile, Resources


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    found = Ledger(tmp_path / "runs" / "a")
    with found.alone():
        return found


def events(ledger: Ledger) -> list[str]:
    return [f"{entry.event} {entry.name} {entry.job_id}" for entry in ledger.entries()]


def test_what_is_appended_is_read_in_order(ledger: Ledger) -> None:
    assert ledger.entries() == []
    ledger.append("intent", "a", None, [0, 2], "order.json")
    sent = ledger.append("sent", "a", "7", [0, 2], "order.json")
    ledger.append("cancelled", "a", "7")
    assert events(ledger) == ["intent a None", "sent a 7", "cancelled a 7"]
    assert ledger.submissions() == {"a": [sent]}
    assert (sent.parts, sent.order) == ([0, 2], "order.json")


def test_an_intent_is_open_until_something_follows_it(ledger: Ledger) -> None:
    ledger.append("intent", "a", None, [0], "1.json")
    ledger.append("intent", "b", None, [0], "2.json")
    ledger.append("sent", "a", "7", [0], "1.json")
    assert {name: entry.order for name, entry in ledger.open_intents().items()} == {"b": "2.json"}
    ledger.append("intent", "b", None, [1], "3.json")
    assert ledger.open_intents()["b"].order == "3.json"
    ledger.append("adopted", "b", "8", [1], "3.json")
    assert ledger.open_intents() == {}
    assert [entry.job_id for entry in ledger.submissions()["b"]] == ["8"]


def test_a_line_cut_short_by_a_crash_is_left_out_for_good(ledger: Ledger) -> None:
    ledger.append("sent", "a", "7", [0])
    path = ledger.folder / "ledger.jsonl"
    whole = path.read_text()
    path.write_text(whole + whole[: len(whole) // 2])
    assert events(ledger) == ["sent a 7"]
    ledger.append("sent", "b", "8", [0])
    assert events(ledger) == ["sent a 7", "sent b 8"]


@pytest.mark.parametrize("text", ["no JSON\n", '{"event": "lost", "name": "a"}\n', "7\n"])
def test_what_is_no_ledger_is_refused(ledger: Ledger, text: str) -> None:
    path = ledger.folder / "ledger.jsonl"
    path.write_text(text)
    with pytest.raises(IntegrityError, match="not a ledger of wmss; move it away"):
        ledger.entries()


def test_the_plan_is_read_as_it_was_written(ledger: Ledger, tmp_path: Path) -> None:
    steps = small_plan(tmp_path)
    profile = Profile(
        **{"sbatch": {"nice": 3, "spread-job": True}, "variants": {"x": {"account": "a"}}},
        train=Resources(nodes=2, gpu_type="h800", gpus_per_node=8),
    )
    group = Group(steps=steps, profile=profile, profile_name="mine.yaml:x", max_array_size=4)
    plan = RunPlan(groups=[group], accounting=False, config="run.yaml")
    assert not ledger.has_plan()
    ledger.write_plan(plan)
    assert ledger.has_plan()
    found = ledger.read_plan()
    assert found.steps() == steps
    assert found == plan
    assert {link.profile.account for link in found.links()} == {profile.account}


def test_a_folder_without_a_plan_is_no_run(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match="nothing was submitted from here; 'wmss runs' lists"):
            Ledger(folder).read_plan()


def test_the_plan_of_another_version_is_refused(ledger: Ledger) -> None:
    (ledger.folder / "plan.json").write_text('{"steps": []}')
    with pytest.raises(IntegrityError, match="of wmss; submit the run again"):
        ledger.read_plan()


def test_only_the_user_can_look_into_it(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    (shared / "slurm").mkdir(mode=0o755)
    for run in (tmp_path / "new" / "run", shared):
        ledger = Ledger(run)
        with ledger.alone():
            folders = [ledger.folder, ledger.link_folder("wmss-a-1")]
        assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700, 0o700]
    assert (tmp_path / "new" / "run").stat().st_mode & 0o777 == 0o700
    assert shared.stat().st_mode & 0o777 == 0o755, "a folder of the user's own is left as it is"


def test_one_submitter_waits_for_the_other(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "_PATIENCE_S", 0.1)
    with FileLock(ledger.folder / ".lock"):
        with pytest.raises(ConfigError, match="another wmss is submitting this run"):
            ledger.alone().__enter__()
        assert Ledger(ledger.run_dir).entries() == [], "to look at it needs no lock"
    with ledger.alone():
        ledger.append("intent", "a")


def test_a_dead_submitter_leaves_no_lock(ledger: Ledger) -> None:
    code = (
        "import os, sys; from pathlib import Path; from wmss_cli.slurm.ledger import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "with ledger.alone(): ledger.append('intent', 'a'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(ledger.run_dir)], check=False)
    assert done.returncode == -9
    with ledger.alone():
        assert events(ledger) == ["intent a None"]

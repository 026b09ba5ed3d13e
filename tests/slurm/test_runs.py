"""The list of a user's runs: the newest first, each once, found by name or folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from slurm.fake_slurm import FakeSlurm
from slurm.plans import as_sent, finish, small_plan

from wmss_cli.core.errors import ConfigError
from wmss_cli.slurm.ledger import Ledger
from wmss_cli.slurm.runs import find_run, known_runs, name_of, remember, summaries


@pytest.fixture(autouse=True)
def own_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the list in a folder of the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "wmss" / "runs.jsonl"


def make(folder: Path) -> Path:
    """Make a folder that looks like a run, and remember it."""
    (folder / "slurm").mkdir(parents=True)
    (folder / "slurm" / "plan.json").write_text("{}")
    remember(folder, None)
    return folder


def names() -> list[str]:
    return [Path(run.run_dir).name for run in known_runs()]


def test_the_newest_run_comes_first_and_each_once(tmp_path: Path) -> None:
    assert known_runs() == []
    a, _, _ = (make(tmp_path / name) for name in "abc")
    assert names() == ["c", "b", "a"]
    remember(a, None)
    assert names() == ["a", "c", "b"]


def test_paths_are_kept_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    remember(Path("a"), Path("run.yaml"))
    (run,) = known_runs()
    assert (run.run_dir, run.config) == (str(tmp_path / "a"), str(tmp_path / "run.yaml"))


def test_a_run_whose_folder_is_gone_is_left_out(tmp_path: Path) -> None:
    for name in "ab":
        make(tmp_path / name)
    shutil.rmtree(tmp_path / "b")
    assert names() == ["a"]


def test_a_damaged_line_hides_no_other(tmp_path: Path, own_list: Path) -> None:
    make(tmp_path / "a")
    with own_list.open("a") as file:
        file.write('no JSON\n{"run_dir": 7}\n[]\n{"run_dir": "/x", "conf')
    assert names() == ["a"]
    assert own_list.parent.stat().st_mode & 0o777 == 0o700


def test_the_list_lies_at_home_without_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    make(tmp_path / "a")
    assert (tmp_path / "home" / ".local" / "state" / "wmss" / "runs.jsonl").is_file()


def test_a_run_is_found_by_folder_by_name_or_as_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = (make(tmp_path / "runs" / name) for name in "ab")
    assert find_run(None).run_dir == b
    assert find_run("a").run_dir == a
    assert find_run(str(a)).run_dir == a
    monkeypatch.chdir(a)
    # Commands name it by the last part of its path.
    assert find_run(".").run_dir == a
    assert find_run("../b").run_dir.name == "b"


def test_a_folder_that_was_copied_here_is_found_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "copied" / "slurm").mkdir(parents=True)
    assert find_run(str(tmp_path / "copied")).run_dir == tmp_path / "copied"


def test_what_cannot_be_found_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run was submitted yet; 'wmss run CONFIG --cluster"):
        find_run(None)
    make(tmp_path / "a")
    with pytest.raises(ConfigError, match="b: no run of this name or folder; 'wmss runs' lists"):
        find_run("b")
    make(tmp_path / "other" / "a")
    with pytest.raises(ConfigError, match="a: 2 runs have this name; give the folder, such as /"):
        find_run("a")


def test_a_run_is_called_by_its_name_where_that_says_which(tmp_path: Path) -> None:
    a = make(tmp_path / "a")
    assert name_of(a) == "a"
    other = make(tmp_path / "other" / "a")
    assert (name_of(a), name_of(other)) == (str(a), str(other))
    assert name_of(tmp_path / "copied") == str(tmp_path / "copied")
    for run in (a, other):
        assert find_run(name_of(run)).run_dir == run


def test_a_summary_counts_stages_and_jobs_by_one_call(tmp_path: Path, slurm: FakeSlurm) -> None:
    for name in "ab":
        folder = tmp_path / name
        folder.mkdir()
        steps = small_plan(folder)
        as_sent(slurm, steps, folder / "run")
        remember(folder / "run", None)
    finish(steps[0].job)
    slurm.move("5", "COMPLETED")
    slurm.move("6_0", "FAILED")
    before = len(slurm.calls("squeue"))
    b, a = summaries(known_runs())
    assert len(slurm.calls("squeue")) == before + 1
    # Of an array every task counts, and the merge.
    assert (a.stages, a.done, a.jobs) == (3, 0, 6)
    assert (b.stages, b.done, b.jobs) == (3, 1, 4)


def test_a_summary_needs_no_slurm(tmp_path: Path, slurm: FakeSlurm) -> None:
    as_sent(slurm, small_plan(tmp_path), tmp_path / "run")
    remember(tmp_path / "run", None)
    make(tmp_path / "empty")
    slurm.answer("squeue", stderr="slurm_load_jobs error", code=1)
    (run,) = summaries(known_runs())
    assert (run.stages, run.done, run.jobs) == (3, 0, None)
    assert Ledger(Path(run.run_dir)).has_plan()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_run_of_another_user_is_said_to_be_theirs(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    theirs = make(tmp_path / "theirs")
    for folder in (theirs, theirs / "slurm"):
        folder.chmod(0o700)
        before = os.geteuid()
        os.seteuid(65534)
        try:
            with pytest.raises(ConfigError, match="theirs: the run of user root, which you may"):
                find_run(str(theirs))
        finally:
            os.seteuid(before)
        folder.chmod(0o755)

"""Artifacts: whole or not there, done once, never mixed, and checked by their hashes."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wmss_cli.core import artifact
from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.errors import ConfigError, IntegrityError
from wmss_cli.core.manifest import Manifest, read_manifest, reference, verify


def make_job(out: Path, inputs: Mapping[str, Path] | None = None, **options: Any) -> Job:
    """Return a job whose options all decide the result."""
    paths = {role: str(path) for role, path in (inputs or {}).items()}
    return Job("copy", options, options, paths, str(out))


def write(job: Job, text: str = "result") -> Manifest:
    """Do the work of the job: one file."""
    with open_draft(job) as draft:
        (draft.folder / "result.txt").write_text(text)
        return draft.commit({"characters": len(text)})


# What counts.


def test_a_folder_counts_only_when_its_manifest_exists(tmp_path: Path) -> None:
    job = make_job(tmp_path / "out")
    with open_draft(job) as draft:
        (draft.folder / "result.txt").write_text("half")
        assert draft.folder == tmp_path / "out.partial"
        assert not (tmp_path / "out").exists()
        with pytest.raises(ConfigError, match="out: not found; run the stage that writes it"):
            read_manifest(tmp_path / "out")
        draft.commit({})
    assert not (tmp_path / "out.partial").exists()
    assert read_manifest(tmp_path / "out").stage == "copy"
    (tmp_path / "out" / "manifest.json").unlink()
    with pytest.raises(ConfigError, match="has no manifest: unfinished, or not an artifact"):
        read_manifest(tmp_path / "out")


def test_work_that_fails_leaves_no_artifact(tmp_path: Path) -> None:
    job = make_job(tmp_path / "out")
    with pytest.raises(UnicodeEncodeError):
        write(job, "half, then \ud83d")
    assert not (tmp_path / "out").exists()
    assert artifact.finished(job) is None
    assert write(job).attempt == 2
    assert [p.name for p in (tmp_path / "out").iterdir() if p.name != "manifest.json"] == [
        "result.txt"
    ]


def test_the_manifest_says_what_made_it_from_what(tmp_path: Path) -> None:
    source = tmp_path / "data.txt"
    source.write_text("data")
    job = make_job(tmp_path / "out", {"data": source}, level=3)
    manifest = write(job)
    assert manifest == read_manifest(tmp_path / "out")
    assert manifest.config == {"level": 3}
    assert manifest.inputs["data"].path == str(source)
    assert manifest.files.keys() == {"result.txt"}
    assert manifest.metrics == {"characters": 6}
    assert manifest.versions.keys() >= {"wmss", "torch", "transformers", "deepspeed"}
    assert manifest.attempt == 1
    assert manifest.seconds >= 0


def test_files_of_a_draft_do_not_belong_to_the_artifact(tmp_path: Path) -> None:
    job = make_job(tmp_path / "out")
    with open_draft(job) as draft:
        (draft.folder / "progress.json").write_text("{}")
        draft.commit({})
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["manifest.json"]


# Same fingerprint: done.


def test_the_same_work_is_done(tmp_path: Path) -> None:
    source = tmp_path / "data.txt"
    source.write_text("data")
    job = make_job(tmp_path / "out", {"data": source}, level=3)
    assert artifact.finished(job) is None
    made = write(job)
    assert artifact.finished(job) == made


def test_options_and_inputs_make_the_fingerprint_and_paths_do_not(tmp_path: Path) -> None:
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("data")
    second.write_text("data")

    def fingerprint(path: Path, **options: Any) -> str:
        return artifact.describe(make_job(tmp_path / "out", {"data": path}, **options))[0]

    same = fingerprint(first, level=3)
    assert fingerprint(second, level=3) == same
    assert fingerprint(first, level=4) != same
    second.write_text("other data")
    assert fingerprint(second, level=3) != same
    other_stage = replace(make_job(tmp_path / "out", {"data": first}, level=3), stage="move")
    assert artifact.describe(other_stage)[0] != same
    other_role = make_job(tmp_path / "out", {"source": first}, level=3)
    assert artifact.describe(other_role)[0] != same


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"level": 4}, r"level was 3, now 4"),
        ({"stage": "move"}, r"made by copy"),
        ({"text": "other data"}, r"made from other inputs"),
    ],
)
def test_other_work_is_refused_and_never_mixed_in(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    source = tmp_path / "data.txt"
    source.write_text("data")
    job = make_job(tmp_path / "out", {"data": source}, level=3)
    write(job)
    source.write_text(change.get("text", "data"))
    options = {"level": change.get("level", 3)}
    other = replace(job, config=options, identity=options, stage=change.get("stage", "copy"))
    with pytest.raises(
        ConfigError, match=rf"contains another artifact \({reason}\); .*--force"
    ) as e:
        artifact.finished(other)
    assert "\n" not in str(e.value)
    assert verify(tmp_path / "out").config == {"level": 3}


@pytest.mark.parametrize("there", ["file", "folder"])
def test_what_is_no_artifact_is_never_replaced(tmp_path: Path, there: str) -> None:
    out = tmp_path / "out"
    if there == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "notes.txt").write_text("mine")
    job = make_job(out)
    with pytest.raises(ConfigError, match="choose another --out"):
        artifact.finished(job)
    # Not with --force either.
    with pytest.raises(ConfigError, match="choose another --out"):
        force(job)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out if there == "file" else out / "notes.txt").read_text() == "mine"


def test_an_empty_folder_may_become_the_artifact(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    job = make_job(tmp_path / "out")
    assert artifact.finished(job) is None
    write(job)
    assert artifact.finished(job) is not None
    assert not (tmp_path / "out.old").exists()


# An input that was made again.


def test_an_input_made_again_with_other_content_makes_it_stale(tmp_path: Path) -> None:
    source = make_job(tmp_path / "source", seed=1)
    write(source, "as it was")
    job = make_job(tmp_path / "out", {"data": tmp_path / "source"})
    write(job, "from what was")
    # The same options, so the same fingerprint; say, bf16 kernels that are not deterministic.
    force(source)
    write(source, "as it is")
    assert artifact.finished(job) is None
    write(job, "from what is")
    assert artifact.finished(job) is not None
    assert (tmp_path / "out" / "result.txt").read_text() == "from what is"
    assert not (tmp_path / "out.old").exists()


def test_an_input_made_again_with_the_same_content_does_not(tmp_path: Path) -> None:
    source = make_job(tmp_path / "source", seed=1)
    write(source)
    job = make_job(tmp_path / "out", {"data": tmp_path / "source"})
    write(job)
    force(source)
    write(source)
    assert artifact.finished(job) is not None


def test_how_the_work_went_is_no_content(tmp_path: Path) -> None:
    def digest(out: str, speed: str) -> str:
        with open_draft(make_job(tmp_path / out)) as draft:
            (draft.folder / "result.txt").write_text("result")
            (draft.folder / "metrics.jsonl").write_text(speed)
            return draft.commit({"tokens_per_s": speed}).digest

    assert digest("a", "fast") == digest("b", "slow")


def test_a_model_in_an_artifact_is_known_by_the_artifact(tmp_path: Path) -> None:
    job = make_job(tmp_path / "sft")
    with open_draft(job) as draft:
        for name in ("model", "weak"):
            (draft.folder / name).mkdir()
            (draft.folder / name / "weights").write_text("same")
        made = draft.commit({})
    model = reference(tmp_path / "sft" / "model")
    assert model.fingerprint == f"{made.fingerprint}/model"
    assert model.digest == made.digest
    assert reference(tmp_path / "sft" / "weak").fingerprint == f"{made.fingerprint}/weak"


def test_a_plain_folder_is_known_by_its_content(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    before = reference(folder)
    shutil.copytree(folder, tmp_path / "moved")
    assert reference(tmp_path / "moved").fingerprint == before.fingerprint
    # What git and a download write down about the folder does not belong to the model.
    for note in (".git/index", ".cache/huggingface/download/config.json.metadata"):
        (folder / note).parent.mkdir(parents=True)
        (folder / note).write_text("1764500000.0")
    assert reference(folder).fingerprint == before.fingerprint
    (folder / "config.json").write_text('{"a": 1}')
    assert reference(folder).fingerprint != before.fingerprint
    with pytest.raises(ConfigError, match="nowhere: no such file or folder"):
        reference(tmp_path / "nowhere")


# Force.


def force(job: Job) -> Callable[[], None]:
    """Say that the job is to be done again, as ``--force`` does."""
    return artifact.redo({Path(job.out): artifact.describe(job)[0]})


def content(folder: Path) -> dict[str, bytes]:
    """Return all bytes below a folder, marks and locks aside."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".redo", ".lock")
    }


def test_what_is_forced_is_to_do_and_stays_readable_until_the_new_one_is_whole(
    tmp_path: Path,
) -> None:
    job = make_job(tmp_path / "out")
    old = write(job, "old")
    before = content(tmp_path)
    force(job)
    assert content(tmp_path) == before
    assert artifact.finished(job) is None
    with open_draft(job) as draft:
        (draft.folder / "result.txt").write_text("new")
        assert verify(tmp_path / "out") == old, "it is read while the new one is written"
        new = draft.commit({})
    assert artifact.finished(job) == new == verify(tmp_path / "out")
    # Forced once, made once.
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.lock", "out"]


def test_new_work_that_fails_leaves_the_old_result_and_is_still_to_do(tmp_path: Path) -> None:
    job = make_job(tmp_path / "out")
    old = write(job, "old")
    force(job)
    with pytest.raises(UnicodeEncodeError):
        write(job, "half, then \ud83d")
    assert verify(tmp_path / "out") == old
    assert artifact.finished(job) is None
    write(job, "new")
    assert artifact.finished(job) is not None


def test_a_mark_taken_back_is_as_if_it_had_not_been_set(tmp_path: Path) -> None:
    job = make_job(tmp_path / "out")
    old = write(job)
    force(job)()
    assert artifact.finished(job) == old
    # A mark that was there before is there again.
    force(job)
    force(job)()
    assert artifact.finished(job) is None


def test_what_is_forced_for_one_work_is_not_free_for_another(tmp_path: Path) -> None:
    first, second = make_job(tmp_path / "out", level=1), make_job(tmp_path / "out", level=2)
    old = write(first)
    force(second)
    assert artifact.finished(second) is None
    assert artifact.finished(first) == old, "nobody asked for this one again"
    third = make_job(tmp_path / "out", level=3)
    with pytest.raises(ConfigError, match=r"contains another artifact \(level was 1, now 3\)"):
        artifact.finished(third)
    write(second, "new")
    assert artifact.finished(second) is not None
    assert not (tmp_path / "out.old").exists()


def test_a_damaged_artifact_can_be_forced(tmp_path: Path) -> None:
    job = make_job(tmp_path / "out")
    write(job)
    (tmp_path / "out" / "manifest.json").write_text("{")
    force(job)
    assert artifact.finished(job) is None
    write(job, "new")
    assert verify(tmp_path / "out") == artifact.finished(job)


def test_work_begun_before_force_is_thrown_away_when_the_new_one_begins(tmp_path: Path) -> None:
    job = make_job(tmp_path / "out")
    with open_draft(job, resumable=True) as draft:
        (draft.folder / "checkpoint").write_text("step 5")
    force(job)
    assert (tmp_path / "out.partial" / "checkpoint").read_text() == "step 5"
    with open_draft(job, resumable=True) as draft:
        assert not (draft.folder / "checkpoint").exists()
        assert draft.attempt == 1
        (draft.folder / "checkpoint").write_text("step 2 of the new work")
    # And the new work is gone on with, however often it is interrupted.
    with open_draft(job, resumable=True) as draft:
        assert (draft.folder / "checkpoint").read_text() == "step 2 of the new work"
        assert draft.attempt == 2
        draft.commit({})
    assert artifact.finished(job) is not None


def test_force_reaches_the_shards_done_and_begun(tmp_path: Path) -> None:
    job = make_job(tmp_path / "out")
    done, begun = (make_job(tmp_path / f"out.shards/0000{n}-of-00002") for n in range(2))
    write(done)
    with open_draft(begun, resumable=True) as draft:
        (draft.folder / "answers").write_text("half of them")
    before = content(tmp_path)
    force(job)
    assert content(tmp_path) == before
    assert artifact.finished(done) is None
    with open_draft(begun, resumable=True) as draft:
        assert not (draft.folder / "answers").exists()
    write(done, "new")
    assert artifact.finished(done) is not None


def test_force_of_several_is_refused_as_a_whole(tmp_path: Path) -> None:
    jobs = [make_job(tmp_path / name) for name in "abc"]
    for job in jobs:
        write(job)
    wanted = {Path(job.out): artifact.describe(job)[0] for job in jobs}
    with (
        open_draft(make_job(tmp_path / "c", level=2)),
        pytest.raises(ConfigError, match="c: another process is writing it"),
    ):
        artifact.redo(wanted)
    assert all(artifact.finished(job) for job in jobs)


def test_force_without_an_artifact_leaves_no_mark(tmp_path: Path) -> None:
    force(make_job(tmp_path / "run" / "out"))
    assert list(tmp_path.iterdir()) == []


def test_who_dies_between_two_renames_loses_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path / "out")
    old = write(job, "old")
    force(job)
    rename = Path.rename

    def dies(self: Path, target: Path) -> Path:
        if self.name == "out.partial":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", dies)
    with pytest.raises(KeyboardInterrupt):
        write(job, "new")
    monkeypatch.undo()
    with open_draft(job):
        assert verify(tmp_path / "out") == old
    write(job, "new")
    assert artifact.finished(job) is not None
    assert not (tmp_path / "out.old").exists()


# Two writers.


def test_two_writers_at_once_are_one_too_many(tmp_path: Path) -> None:
    job = make_job(tmp_path / "out")
    with open_draft(job) as draft:
        with pytest.raises(ConfigError, match="another process is writing it"), open_draft(job):
            pass
        # The refused one has touched nothing.
        (draft.folder / "result.txt").write_text("result")
        draft.commit({})
    assert (tmp_path / "out" / "result.txt").read_text() == "result"
    with open_draft(make_job(tmp_path / "other")):
        pass


def test_the_next_one_may_write_when_the_first_has_failed(tmp_path: Path) -> None:
    job = make_job(tmp_path / "out")
    with pytest.raises(RuntimeError), open_draft(job):
        raise RuntimeError
    write(job)


# Unfinished work.


def test_a_resumable_stage_finds_what_it_left(tmp_path: Path) -> None:
    job = make_job(tmp_path / "out", level=3)
    with open_draft(job, resumable=True) as draft:
        (draft.folder / "checkpoint").write_text("step 5")
    with open_draft(job, resumable=True) as draft:
        assert (draft.folder / "checkpoint").read_text() == "step 5"
        assert draft.attempt == 2


def test_a_stage_that_is_not_begins_with_an_empty_folder(tmp_path: Path) -> None:
    job = make_job(tmp_path / "out", level=3)
    with open_draft(job) as draft:
        (draft.folder / "rows").write_text("half of them")
    with open_draft(job) as draft:
        assert not (draft.folder / "rows").exists()


@pytest.mark.parametrize("change", ["option", "input"])
def test_unfinished_work_is_not_resumed_with_other_options_or_inputs(
    tmp_path: Path, change: str
) -> None:
    source = tmp_path / "data.txt"
    source.write_text("data")
    with open_draft(make_job(tmp_path / "out", {"data": source}, level=3), resumable=True) as draft:
        (draft.folder / "checkpoint").write_text("step 5")
    if change == "input":
        source.write_text("other")
    other = make_job(tmp_path / "out", {"data": source}, level=4 if change == "option" else 3)
    refused = pytest.raises(ConfigError, match="unfinished work with other options or inputs")
    with refused, open_draft(other, resumable=True):
        pass
    assert (tmp_path / "out.partial" / "checkpoint").read_text() == "step 5"
    force(other)
    with open_draft(other, resumable=True) as draft:
        assert not (draft.folder / "checkpoint").exists()


# Integrity.


def test_verify_accepts_what_was_written(tmp_path: Path) -> None:
    made = write(make_job(tmp_path / "out"))
    assert verify(tmp_path / "out") == made


def test_verify_finds_a_file_that_changed(tmp_path: Path) -> None:
    write(make_job(tmp_path / "out"), "result")
    (tmp_path / "out" / "result.txt").write_text("resulT")
    with pytest.raises(IntegrityError, match=r"result\.txt: changed since it was written, by hand"):
        verify(tmp_path / "out")


def test_verify_finds_a_file_that_is_gone(tmp_path: Path) -> None:
    write(make_job(tmp_path / "out"))
    (tmp_path / "out" / "result.txt").unlink()
    with pytest.raises(IntegrityError, match=r"result\.txt: missing from the artifact; delete"):
        verify(tmp_path / "out")


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"stage": "copy"})])
def test_a_damaged_manifest_is_one_line(tmp_path: Path, content: str) -> None:
    job = make_job(tmp_path / "out")
    write(job)
    (tmp_path / "out" / "manifest.json").write_text(content)
    with pytest.raises(IntegrityError, match="not a manifest of wmss; redo the stage") as caught:
        artifact.finished(job)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(ConfigError, match=r"no locks, .* mount it with flock"):
        write(make_job(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    # No other kind of lock was taken in its place, which a dead process would leave behind.
    monkeypatch.undo()
    assert write(make_job(tmp_path / "out")).metrics == {"characters": 6}

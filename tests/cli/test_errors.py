"""What a user reads when something is wrong: one line on stderr, and the exit code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from commands import (
    WMSS,
    error_of,
    invoke,
    record,
    right_records,
    wmss,
    write_records,
)
from tokenizers import normalizers

from wmss_cli.models.tokenizer import load_tokenizer

slow = pytest.mark.slow


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_records(tmp_path / "data.jsonl", right_records(4))


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short examples and a long one."""
    folder = tmp_path_factory.mktemp("errors")
    rows = [*right_records(3), *right_records(1, padding=500)]
    result = invoke("curate", write_records(folder / "data.jsonl", rows), "-o", folder / "curated")
    assert result.exit_code == 0, result.stderr
    return folder / "curated"


# 2: usage.


@pytest.mark.parametrize(
    "arguments", [["no-such-command"], ["curate", "--no-such-option"], ["sft"], ["run"]]
)
def test_a_command_that_does_not_exist_or_lacks_something(arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage: " in result.stderr


# 3: configuration and preflight.


def test_a_missing_file(tmp_path: Path) -> None:
    result = invoke("curate", tmp_path / "nowhere.jsonl", "--out", tmp_path / "curated")
    assert result.exit_code == 3
    assert error_of(result) == f"{tmp_path}/nowhere.jsonl: no such file or folder; check the path"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("sft: [\n", ":2: bad YAML: "),
        ("sft:\n  epohcs: 1\n", ":2: unknown key sft.epohcs; did you mean sft.epochs?"),
        ("sft:\n  epochs: two\n", ":2: sft.epochs: input should be a valid number (given: 'two')"),
    ],
)
def test_a_bad_configuration(tmp_path: Path, data: Path, text: str, line: str) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(text)
    for command in (
        ["run", config],
        ["curate", data, "-c", config],
        ["config", "show", "-c", config],
    ):
        result = invoke(*command)
        assert result.exit_code == 3
        assert error_of(result).startswith(f"{config}{line}")


def test_an_option_of_the_wrong_kind_of_value() -> None:
    result = invoke("config", "show", "--set", "joint.mix_lambda=1.5")
    assert result.exit_code == 3
    assert error_of(result) == (
        "--set joint.mix_lambda: joint.mix_lambda: "
        "input should be less than or equal to 1 (given: 1.5)"
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["curate"], "no data: give files, or set data in the YAML file"),
        (["eval", "--model", "x"], "no problems: give --tasks NAME or --task NAME=FILE"),
        (["eval", "--task", "gsm8k"], "--task gsm8k: expected NAME=FILE, as in gsm8k=gsm8k.jsonl"),
        (["sft", "--tokens", "x"], "no model: give --model, or set model in the YAML file"),
    ],
)
def test_something_that_is_needed_was_not_given(arguments: list[str], line: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 3
    assert error_of(result).startswith(line)


def test_a_model_folder_without_weights(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    result = invoke("tokenize", "--examples", tmp_path, "--model", model)
    assert result.exit_code == 3
    assert error_of(result) == (
        f"{model}: no weights (*.safetensors); copy them there and try again"
    )


def test_an_out_that_contains_something_else(tmp_path: Path, data: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("mine")
    for out in (tmp_path / "notes", data):
        for force in ([], ["--force"]):
            result = invoke("curate", data, "--out", out, *force)
            assert result.exit_code == 3
            assert error_of(result).endswith("choose another --out")
    assert (tmp_path / "notes" / "todo.txt").read_text() == "mine"
    assert len(data.read_text().splitlines()) == 4


@slow
def test_a_pair_with_different_tokenizers_is_refused(
    tmp_path: Path, tiny_model: Path, curated: Path
) -> None:
    strong = shutil.copytree(tiny_model, tmp_path / "strong")
    weak = shutil.copytree(tiny_model, tmp_path / "weak")
    tokenizer = load_tokenizer(weak)
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.save_pretrained(weak)
    pair = ("--strong", strong, "--weak", weak, "--tokens", curated)
    result = invoke("joint-train", *pair, "--out", tmp_path / "trained")
    assert result.exit_code == 3
    assert error_of(result) == (
        f"weak {weak} and strong {strong} have different tokenizers: "
        "logits cannot be mixed; use checkpoints of one model"
    )


# 5: a job failed.


@slow
def test_an_empty_data_set(tmp_path: Path) -> None:
    empty = write_records(tmp_path / "empty.jsonl", [])
    result = invoke("curate", empty, "--out", tmp_path / "curated")
    assert result.exit_code == 3, "before anything is done"
    assert error_of(result) == f"{empty}: no records; check that this is the right file"


@slow
def test_nothing_left_after_curation(tmp_path: Path) -> None:
    wrong = write_records(tmp_path / "wrong.jsonl", [record("2 + 2?", "5", "4"), "{"])
    result = invoke("curate", wrong, "--out", tmp_path / "curated")
    assert result.exit_code == 5
    assert error_of(result) == (
        f"{wrong}: none of 2 records kept (1 wrong_answer, 1 unreadable): "
        f"{wrong}:1: wrong_answer, answer '5', reference '4'; "
        f"{wrong}:2: unreadable, not JSON: Expecting property name enclosed in double quotes at "
        f"column 2; see {tmp_path}/curated.partial/rejected.parquet"
    )


@slow
def test_no_completion_tokens(tmp_path: Path, tiny_model: Path, curated: Path) -> None:
    options = ("--max-seq-len", "3", "--set", "tokenize.too_long=truncate")
    sources = ("--examples", curated, "--model", tiny_model, "--out", tmp_path / "tokens")
    result = invoke("tokenize", *sources, *options)
    assert result.exit_code == 5
    assert error_of(result) == (
        f"{curated}: no example fits max_seq_len 3 (4 no_completion_tokens); "
        "raise it or set tokenize.too_long to truncate"
    )


@slow
def test_a_full_disk(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    full_disk = small_disk("64k")
    # Digits that hardly compress, so that the kept rows do not fit.
    rows = [record(f"{i} + 0? {os.urandom(600).hex()}", str(i), str(i)) for i in range(200)]
    data = write_records(tmp_path / "data.jsonl", rows)
    result = invoke("curate", data, "--out", full_disk / "curated")
    assert result.exit_code == 5
    assert error_of(result).endswith("the disk is full; free some space or choose another --out")
    assert not (full_disk / "curated").exists()
    # With space, the same command does it.
    subprocess.run(["mount", "-o", "remount,size=4m", str(full_disk)], check=True)
    assert invoke("curate", data, "--out", full_disk / "curated").exit_code == 0


@pytest.fixture
def unprivileged() -> Sequence[str]:
    """What to put before a command so that permissions hold for it, even for root."""
    if os.geteuid() != 0:
        return ()
    return ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")


def test_no_permission_to_write(tmp_path: Path, data: Path, unprivileged: Sequence[str]) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o555)
    result = wmss("curate", data, "--out", folder / "curated", before=unprivileged)
    assert result.returncode == 5
    assert error_of(result) == (
        f"{folder}/logs: no permission; choose another --out or ask for access"
    )


def test_no_permission_to_read(tmp_path: Path, data: Path, unprivileged: Sequence[str]) -> None:
    data.chmod(0)
    result = wmss("curate", data, "--out", tmp_path / "curated", before=unprivileged)
    assert result.returncode == 5
    assert error_of(result).startswith(f"{data}: no permission; ")


# What is wrong with a row is counted, and is no error.


@slow
def test_broken_rows_are_counted(tmp_path: Path) -> None:
    rows = [*right_records(2), "{", '{"messages": []}', record("1 + 1?", "3", "2")]
    data = write_records(tmp_path / "data.jsonl", rows)
    result = invoke("curate", data, "--out", tmp_path / "curated", "--json")
    assert result.exit_code == 0
    metrics = json.loads(result.stdout)["metrics"]
    assert (metrics["records"], metrics["kept"]) == (5, 2)
    assert metrics["rejected"] == {"unreadable": 2, "wrong_answer": 1}
    assert metrics["first_unreadable"][0].startswith(f"{data}:3: not JSON: ")
    assert metrics["first_unreadable"][1].startswith(f"{data}:4: expected the roles user, assi")


@slow
@pytest.mark.parametrize(
    ("too_long", "left_out", "truncated"), [("drop", {"too_long": 1}, 0), ("truncate", {}, 1)]
)
def test_samples_that_are_too_long_are_counted(
    tmp_path: Path,
    tiny_model: Path,
    curated: Path,
    too_long: str,
    left_out: dict[str, int],
    truncated: int,
) -> None:
    # The long prompt alone has more tokens than a short sample, its completion still fits in part.
    options = ("--set", f"tokenize={{system_prompt: '', too_long: {too_long}}}")
    sources = ("--examples", curated, "--model", tiny_model, "--out", tmp_path / "tokens")
    result = invoke("tokenize", *sources, *options, "--max-seq-len", "540", "--json")
    assert result.exit_code == 0, result.stderr
    metrics = json.loads(result.stdout)["metrics"]
    assert metrics["left_out"] == left_out
    assert metrics["truncated"] == truncated
    assert metrics["examples"] == 4 - len(left_out)


# 6: integrity.


def test_a_damaged_manifest(tmp_path: Path, curated: Path) -> None:
    damaged = shutil.copytree(curated, tmp_path / "damaged")
    (damaged / "manifest.json").write_text("{")
    result = invoke("build-curriculum", "--weak", damaged, "--strong", damaged)
    assert result.exit_code == 6
    assert error_of(result) == (f"{damaged}/manifest.json: not a manifest of wmss; redo the stage")


@slow
def test_a_table_that_is_none(tmp_path: Path) -> None:
    broken = tmp_path / "entropy"
    broken.mkdir()
    (broken / "entropy.parquet").write_bytes(b"no table")
    pair = ("--weak", broken, "--strong", broken)
    result = invoke("build-curriculum", *pair, "--out", tmp_path / "curriculum")
    assert result.exit_code == 6
    assert error_of(result).startswith(f"{broken}/entropy.parquet: not a Parquet file")


# 130: interrupted.


@slow
def test_interrupted(tmp_path: Path) -> None:
    rows = [json.dumps(record("2 + 2?", "4", None))] * 100_000
    data = write_records(tmp_path / "data.jsonl", rows)
    command = [*WMSS, "curate", str(data), "--out", str(tmp_path / "curated")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "curated.partial" / "progress.json").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "error: stopped by SIGTERM; the same command continues"
    assert not (tmp_path / "curated").exists()


# The traceback.


def test_a_traceback_comes_only_with_debug(tmp_path: Path) -> None:
    missing = ("curate", str(tmp_path / "nowhere.jsonl"))
    # Anywhere in the line, so also where one thinks of it last.
    result = wmss(*missing, "--debug")
    assert result.returncode == 3
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert result.stdout == ""
    assert "Traceback" not in invoke(*missing).stderr
    assert "Traceback" in invoke("--debug", *missing).stderr

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from manifests import edit_manifest
from transformers import AutoModelForCausalLM

from wmss_cli.core import artifact
from wmss_cli.core.artifact import Job, finished, partial
from wmss_cli.core.config import EvalConfig
from wmss_cli.core.errors import ConfigError, IntegrityError, InterruptedRunError
from wmss_cli.core.manifest import Manifest, verify
from wmss_cli.core.progress import Progress, ProgressWriter, read_progress
from wmss_cli.core.schema import GENERATION, read_parquet, write_parquet
from wmss_cli.data.chat import Renderer
from wmss_cli.models.tokenizer import load_tokenizer
from wmss_cli.results.statistics import wilson_interval
from wmss_cli.stages import evaluate, table
from wmss_cli.stages.shards import run, run_merge, run_shard, shard_job, shard_jobs

ANSWER = "<think>2+3=5</think>\n<answer>5</answer>"
QUESTIONS = ["2+3?", "Tom has 4 apples and buys 1.", "1+1?", "How many are left in all?"]
GOLDS = ["5", "5.0", "2", "7"]


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that learnt to answer 5, whatever it is asked."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = load_tokenizer(tiny_model)
    samples = Renderer(tokenizer, "").render(QUESTIONS, [ANSWER] * len(QUESTIONS))
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(40):
        for sample in samples:
            ids = torch.tensor([sample.input_ids])
            labels = ids.clone()
            labels[:, : sample.prompt_length] = -100
            model(ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Two tasks: one with three problems, one with one."""
    rows = [
        json.dumps({"id": f"q{i}", "question": question, "answer": gold})
        for i, (question, gold) in enumerate(zip(QUESTIONS, GOLDS, strict=True))
    ]
    sums, left = tmp_path / "sums.jsonl", tmp_path / "left.jsonl"
    sums.write_text("\n".join(rows[:3]))
    left.write_text("\n".join(rows[3:]))
    return {"sums": sums, "left": left}


def job(model: Path, files: dict[str, Path], out: Path, **options: object) -> Job:
    config = EvalConfig.model_validate(
        {"system_prompt": "", "max_new_tokens": 40, "batch_size": 3, "workers": 1, **options}
    )
    return Job(
        stage="eval",
        config=config.model_dump(mode="json"),
        identity=config.identity(),
        inputs={"model": str(model), **{f"task-{name}": str(p) for name, p in files.items()}},
        out=str(out),
    )


def test_one_graded_row_per_problem_in_the_order_of_the_files(
    model: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    task = job(model, files, tmp_path / "out")

    manifest = run(task)

    table = read_parquet(tmp_path / "out" / "generations.parquet", GENERATION)
    assert table["task"].to_pylist() == ["sums", "sums", "sums", "left"]
    assert table["id"].to_pylist() == ["q0", "q1", "q2", "q3"]
    assert table["prompt"][0].as_py() == "User: 2+3?\n\nAssistant:\n"
    assert table["text"].to_pylist() == [ANSWER] * 4
    assert table["reference_answer"].to_pylist() == GOLDS
    assert table["extracted"].to_pylist() == ["5"] * 4
    assert table["correct"].to_pylist() == [True, True, False, False]
    assert table["reason"].to_pylist() == ["correct", "correct", "wrong_answer", "wrong_answer"]
    assert table["finish_reason"].to_pylist() == ["stop"] * 4
    length = len(load_tokenizer(model)(ANSWER)["input_ids"])
    assert table["tokens"].to_pylist() == [length] * 4
    assert verify(tmp_path / "out") == manifest
    assert finished(task) == manifest


def test_the_metrics_count_by_task_and_over_all(
    model: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    metrics = run(job(model, files, tmp_path / "out")).metrics

    length = len(load_tokenizer(model)(ANSWER)["input_ids"])
    low, high = wilson_interval(2, 3)
    assert metrics["tasks"]["sums"] == {
        "n": 3,
        "samples": 1,
        "correct": 2,
        "accuracy": pytest.approx(2 / 3),
        "ci_low": pytest.approx(low),
        "ci_high": pytest.approx(high),
        "truncated": 0,
        "mean_tokens": length,
    }
    assert metrics["tasks"]["left"]["accuracy"] == 0.0
    assert metrics["accuracy"] == 0.5
    assert metrics["task_mean"] == pytest.approx(1 / 3)
    assert (metrics["ci_low"], metrics["ci_high"]) == pytest.approx(wilson_interval(2, 4))
    assert metrics["generated_tokens"] == 4 * length
    assert metrics["tokens_per_s"] > 0


def test_an_answer_that_is_cut_off_is_counted_and_wrong(
    model: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    metrics = run(job(model, files, tmp_path / "out", max_new_tokens=6)).metrics
    assert metrics["tasks"]["sums"]["truncated"] == 3
    assert metrics["tasks"]["sums"]["mean_tokens"] == 6.0
    assert metrics["accuracy"] == 0.0


def test_the_limit_holds_for_each_file(model: Path, files: dict[str, Path], tmp_path: Path) -> None:
    metrics = run(job(model, files, tmp_path / "out", limit=2)).metrics
    assert {name: task["n"] for name, task in metrics["tasks"].items()} == {"sums": 2, "left": 1}


def test_bad_inputs_are_refused_before_anything_is_written(
    model: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="nothing to evaluate on"):
        run(job(model, {}, tmp_path / "out"))
    files["left"].write_text("{}")
    with pytest.raises(ConfigError, match=r"left\.jsonl:1: no 'id'"):
        run(job(model, files, tmp_path / "out"))
    assert not (tmp_path / "out.partial").exists()
    assert not (tmp_path / "out.shards").exists()


def test_a_task_says_how_long_an_answer_may_be_unless_the_user_does(
    model: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    specs = {}
    for name, tokens in (("sums", 40), ("left", 6)):
        spec = tmp_path / f"{name}.yaml"
        spec.write_text(f"title: T\nmax_new_tokens: {tokens}\n")
        specs[f"spec-{name}"] = str(spec)
    for wanted, expected in ((None, {"sums": 0, "left": 1}), (40, {"sums": 0, "left": 0})):
        task = job(model, files, tmp_path / f"out-{wanted}", max_new_tokens=wanted)
        metrics = run(replace(task, inputs={**task.inputs, **specs})).metrics
        found = {name: numbers["truncated"] for name, numbers in metrics["tasks"].items()}
        assert found == expected


def test_several_answers_to_each_problem(
    model: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    options = {"samples": 3, "temperature": 5.0, "max_new_tokens": 8}
    metrics = run(job(model, files, tmp_path / "out", **options)).metrics
    found = rows(tmp_path / "out")
    assert [(row["id"], row["sample"]) for row in found[:4]] == [
        *(("q0", n) for n in range(3)),
        ("q1", 0),
    ]
    assert len({row["text"] for row in found}) == len(found) == 12
    assert metrics["tasks"]["sums"]["n"] == 3
    assert metrics["tasks"]["sums"]["samples"] == 3
    assert set(metrics["tasks"]["sums"]["pass_at_k"]) == {"1", "2", "3"}

    run(job(model, files, tmp_path / "again", **options, shards=2, batch_size=1))
    assert rows(tmp_path / "again") == found
    run(job(model, files, tmp_path / "other", **options, seed=1))
    assert not {row["text"] for row in rows(tmp_path / "other")} & {row["text"] for row in found}


# Shards.


def rows(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_parquet(out / "generations.parquet", GENERATION).to_pylist()
    return found


@pytest.fixture
def sharded(model: Path, files: dict[str, Path], tmp_path: Path) -> Job:
    """Three shards: the first has two problems, the others one."""
    return job(model, files, tmp_path / "cut", shards=3)


def answered(whole: Job) -> list[Path]:
    """Answer all shards, each on its own, and return their folders."""
    for piece in shard_jobs(whole):
        run_shard(piece)
    return [Path(piece.out) for piece in shard_jobs(whole)]


def untimed(manifest: Manifest) -> dict[str, Any]:
    timed = ("tokens_per_s", "shard_seconds")
    return {name: value for name, value in manifest.metrics.items() if name not in timed}


@pytest.mark.parametrize("shards", [2, 3, 6])
def test_shards_do_not_change_the_result(
    model: Path, files: dict[str, Path], tmp_path: Path, shards: int
) -> None:
    whole = job(model, files, tmp_path / "whole", max_new_tokens=30)
    cut = job(model, files, tmp_path / "cut", max_new_tokens=30, shards=shards)
    one, many = run(whole), run(cut)
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")
    assert (one.stage, one.fingerprint, one.digest) == (many.stage, many.fingerprint, many.digest)
    assert untimed(one) == untimed(many)
    assert many.metrics["tokens_per_s"] > 0
    assert many.work_seconds == many.metrics["shard_seconds"]
    assert not (tmp_path / "cut.shards").exists()


def test_problems_are_dealt_so_that_each_shard_has_its_part_of_every_task(sharded: Job) -> None:
    ids = [[(row["task"], row["id"]) for row in rows(out)] for out in answered(sharded)]
    assert ids == [[("sums", "q0"), ("left", "q3")], [("sums", "q1")], [("sums", "q2")]]
    assert [verify(Path(piece.out)).stage for piece in shard_jobs(sharded)] == ["eval_shard"] * 3


def test_an_empty_shard_loads_no_model(
    model: Path, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "open_engine", None)
    metrics = run_shard(shard_job(job(model, files, tmp_path / "out", shards=5), 4)).metrics
    assert (metrics["answers"], metrics["generation_seconds"]) == (0, 0.0)
    assert (metrics["engine"], metrics["dtype"]) == (None, "torch.float32")


def test_an_interrupted_eval_answers_only_the_rest(
    sharded: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_a_shard = evaluate.shard
    begun: list[int] = []

    def interrupted_once(piece: Job) -> Manifest:
        begun.append(piece.config["shard"])
        if begun == [0, 1]:
            raise InterruptedRunError("stopped")
        if begun == [0, 1, 1]:
            assert first.stat().st_mtime_ns == written
        return answer_a_shard(piece)

    monkeypatch.setattr(evaluate, "shard", interrupted_once)
    with pytest.raises(InterruptedRunError):
        run(sharded)
    assert not Path(sharded.out).exists()
    first = Path(shard_job(sharded, 0).out) / "generations.parquet"
    written = first.stat().st_mtime_ns
    run(sharded)
    assert begun == [0, 1, 1, 2]
    assert [row["id"] for row in rows(Path(sharded.out))] == ["q0", "q1", "q2", "q3"]


def test_an_interrupted_shard_continues_after_the_last_answer(
    model: Path, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = job(model, files, tmp_path / "whole"), job(model, files, tmp_path / "cut")
    run(whole)
    written = evaluate.append_sealed_line
    names: list[str] = []

    def killed_after_two(path: Path, row: dict[str, Any]) -> None:
        written(path, row)
        names.append(row["id"])
        if len(names) == 2:
            # The next one is cut off in the middle.
            with path.open("a") as file:
                file.write('{"task": "sums", "id"')
            raise InterruptedRunError("stopped")

    monkeypatch.setattr(evaluate, "append_sealed_line", killed_after_two)
    with pytest.raises(InterruptedRunError):
        run(cut)
    run(cut)

    assert sorted(names) == ["q0", "q1", "q2", "q3"]
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    assert not list(tmp_path.glob("cut*/answers"))


def test_shards_that_other_jobs_answered_are_merged_without_the_model(
    sharded: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered(sharded)
    monkeypatch.setattr(evaluate, "open_engine", None)
    manifest = table.load("eval", merge=True)(sharded)
    assert finished(sharded) == manifest
    assert (manifest.stage, manifest.metrics["accuracy"]) == ("eval", 0.5)
    assert not Path(f"{sharded.out}.shards").exists()


def test_a_merge_answers_no_missing_shard_itself(sharded: Job) -> None:
    missing = answered(sharded)[1]
    shutil.rmtree(missing)
    with pytest.raises(
        IntegrityError,
        match="00001-of-00003: shard 1 is missing or older than its inputs; run eval again",
    ):
        run_merge(sharded)
    assert not missing.exists()
    assert not Path(sharded.out).exists()


def test_a_shard_that_was_changed_is_an_integrity_error(sharded: Job) -> None:
    shards = answered(sharded)
    shutil.copyfile(shards[1] / "generations.parquet", shards[2] / "generations.parquet")
    with pytest.raises(IntegrityError, match=r"generations\.parquet: changed since it was written"):
        run(sharded)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:1], r"1 missing rows \(first: left q3 0\)"),
        (lambda rows: rows + rows[:1], r"1 duplicate rows \(first: sums q0 0\)"),
        # The same id in another task is another problem.
        (lambda rows: [*rows, {**rows[0], "task": "left"}], r"1 foreign rows \(first: left q0 0\)"),
    ],
)
def test_every_problem_is_joined_exactly_once(sharded: Job, change: Any, message: str) -> None:
    first = answered(sharded)[0]
    wrong = change(rows(first))
    shutil.rmtree(first)
    with artifact.open_draft(shard_job(sharded, 0)) as draft:
        write_parquet(draft.folder / "generations.parquet", wrong, GENERATION)
        draft.commit(
            {"answers": 2, "generation_seconds": 1.0, "new_tokens": 1, "dtype": "torch.float32"}
        )
    with pytest.raises(IntegrityError, match=message) as caught:
        run_merge(sharded)
    assert "run eval again with --force" in str(caught.value)


def test_shards_of_two_precisions_are_not_mixed(sharded: Job) -> None:
    edit_manifest(answered(sharded)[2], lambda made: made["metrics"].update(dtype="torch.bfloat16"))
    with pytest.raises(IntegrityError, match=r"set eval\.precision and run eval again"):
        run_merge(sharded)


def test_shards_of_another_model_are_not_mixed_in(sharded: Job, tiny_model: Path) -> None:
    answered(sharded)
    other = replace(sharded, inputs={**sharded.inputs, "model": str(tiny_model)})
    with pytest.raises(ConfigError, match=r"contains another artifact \(made from other inputs"):
        run(other)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Progress]]:
    """Every report of progress: the folder of the artifact, and what stands there."""
    reports: list[tuple[Path, Progress]] = []
    monkeypatch.setattr("wmss_cli.core.progress._WRITE_EVERY_S", 0.0)
    update = ProgressWriter.update

    def noted(self: ProgressWriter, done: int, **metrics: float) -> None:
        update(self, done, **metrics)
        progress = read_progress(self._folder)
        assert progress is not None
        reports.append((self._folder, progress))

    monkeypatch.setattr(ProgressWriter, "update", noted)
    return reports


def test_a_shard_that_is_a_job_of_its_own_counts_for_itself(
    sharded: Job, seen: list[tuple[Path, Progress]]
) -> None:
    # As a killed run leaves it; no process updates it now.
    partial(Path(sharded.out)).mkdir()
    piece = shard_job(sharded, 0)
    run_shard(piece)
    assert {folder for folder, _ in seen} == {partial(Path(piece.out))}
    assert [(p.done, p.total, p.resumed_at) for _, p in seen] == [(n, 2, 0) for n in (0, 1, 2)]
    assert seen[1][1].metrics["tokens_per_s"] > 0


@pytest.mark.parametrize(
    "engine", ["static", pytest.param("continuous", marks=pytest.mark.slow), "plain"]
)
def test_every_stop_token_of_the_model_ends_an_answer(
    model: Path, files: dict[str, Path], tmp_path: Path, engine: str
) -> None:
    own = Path(shutil.copytree(model, tmp_path / "model"))
    tokenizer = load_tokenizer(own)
    written = tokenizer(ANSWER)["input_ids"]
    # One that somebody chose, in the middle of the answer; the others end it, too.
    stops = [319, written[6], tokenizer.eos_token_id]
    (own / "generation_config.json").write_text(json.dumps({"eos_token_id": stops}))
    run(job(own, files, tmp_path / "out", engine=engine))
    table = read_parquet(tmp_path / "out" / "generations.parquet", GENERATION)
    first = written.index(written[6])
    assert table["tokens"].to_pylist() == [first] * 4
    assert table["finish_reason"].to_pylist() == ["stop"] * 4


def test_a_prompt_that_leaves_no_room_is_refused_before_the_model_is_loaded(
    model: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    own = Path(shutil.copytree(model, tmp_path / "model"))
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 45}))
    with pytest.raises(ConfigError, match="an answer to sums may have 40 after a prompt of"):
        run(job(own, files, tmp_path / "out"))

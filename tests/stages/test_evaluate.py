from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from wmss_cli.core.artifact import Job, finished
from wmss_cli.core.config import EvalConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.manifest import verify
from wmss_cli.core.schema import GENERATION, read_parquet
from wmss_cli.data.chat import Renderer
from wmss_cli.evaluate.statistics import wilson_interval
from wmss_cli.models.tokenizer import load_tokenizer
from wmss_cli.stages import evaluate

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

    manifest = evaluate.run(task)

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
    metrics = evaluate.run(job(model, files, tmp_path / "out")).metrics

    length = len(load_tokenizer(model)(ANSWER)["input_ids"])
    low, high = wilson_interval(2, 3)
    assert metrics["tasks"]["sums"] == {
        "n": 3,
        "correct": 2,
        "accuracy": pytest.approx(2 / 3),
        "ci_low": pytest.approx(low),
        "ci_high": pytest.approx(high),
        "truncated": 0,
        "mean_tokens": length,
    }
    assert metrics["tasks"]["left"]["accuracy"] == 0.0
    assert metrics["accuracy"] == 0.5
    assert (metrics["ci_low"], metrics["ci_high"]) == pytest.approx(wilson_interval(2, 4))
    assert metrics["generated_tokens"] == 4 * length
    assert metrics["tokens_per_s"] > 0


def test_an_answer_that_is_cut_off_is_counted_and_wrong(
    model: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    metrics = evaluate.run(job(model, files, tmp_path / "out", max_new_tokens=6)).metrics
    assert metrics["tasks"]["sums"]["truncated"] == 3
    assert metrics["tasks"]["sums"]["mean_tokens"] == 6.0
    assert metrics["accuracy"] == 0.0


def test_the_limit_holds_for_each_file(model: Path, files: dict[str, Path], tmp_path: Path) -> None:
    metrics = evaluate.run(job(model, files, tmp_path / "out", limit=2)).metrics
    assert {name: task["n"] for name, task in metrics["tasks"].items()} == {"sums": 2, "left": 1}


def test_bad_inputs_are_refused_before_anything_is_written(
    model: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="nothing to evaluate on"):
        evaluate.run(job(model, {}, tmp_path / "out"))
    files["left"].write_text("{}")
    with pytest.raises(ConfigError, match=r"left\.jsonl:1: no 'id'"):
        evaluate.run(job(model, files, tmp_path / "out"))
    assert not (tmp_path / "out.partial").exists()

"""Run `wmss` as a person types it, and write the smallest records and models that it accepts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from typer.testing import CliRunner, Result

from wmss_cli.cli.main import app
from wmss_cli.models.weight_shapes import expected

MODEL_CONFIG = {
    "model_type": "qwen3",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 320,
    "tie_word_embeddings": True,
}
"""Of a model that is named and counted, and never loaded."""

WMSS = (sys.executable, "-m", "wmss_cli.cli.main")
_PROGRESS = re.compile(r"(?!error:)[\w-]+: (started|\d+(/\d+)? \w+(, .+)?)")


def invoke(*arguments: str | Path) -> Result:
    """Run a command in this process; stages still run in workers."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def wmss(*arguments: str | Path, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, without a terminal."""
    return subprocess.run(
        [*before, *WMSS, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def error_of(result: Result | subprocess.CompletedProcess[str]) -> str:
    """Return the one line that says what went wrong; stdout must be empty."""
    assert result.stdout == ""
    lines = without_progress(result.stderr)
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


def without_progress(stderr: str) -> list[str]:
    """Return the lines that stay when those are left out that a stage prints while it runs.

    How many there are depends on how long it takes, which is not for a test to know.
    """
    return [line for line in stderr.splitlines() if not _PROGRESS.fullmatch(line)]


def record(question: str, answer: str, reference: str | None) -> dict[str, Any]:
    """Make a record in the AM-1.4M format."""
    info = {"source": "sums", "reference_answer": reference, "test_case": None}
    completion = f"<think>Let me see.</think> <answer>\\boxed{{{answer}}}</answer>"
    return {
        "messages": [
            {"role": "user", "content": question, "info": info},
            {"role": "assistant", "content": completion, "info": {}},
        ]
    }


def right_records(count: int, padding: int = 0) -> list[dict[str, Any]]:
    """Make records that curation keeps, with questions that many characters longer."""
    return [record(f"{i} + 0? " + "x" * padding, str(i), str(i)) for i in range(count)]


def write_model(folder: Path, value: float = 0.0) -> Path:
    """Write a model without a tokenizer, all of whose weights are one number; torch is not needed.

    Another number makes another model.
    """
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(MODEL_CONFIG))
    shapes = expected(MODEL_CONFIG)
    assert shapes is not None
    weights = {name: np.full(shape, value, dtype=np.float16) for name, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def write_records(path: Path, rows: Iterable[dict[str, Any] | str]) -> Path:
    """Write records, or lines that are none, as JSON lines."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path

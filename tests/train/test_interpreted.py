"""Others' GPU kernels beside our own loss and layers, in Triton's interpreter on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ranks import rank_environment

from wmss_cli.core.ports import free_port

pytestmark = pytest.mark.slow
Rows = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def rows(kernels_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    results = tmp_path_factory.mktemp("interpreted") / "results.json"
    worker = Path(__file__).with_name("interpreted_worker.py")
    environment = rank_environment(0, 1, free_port()) | {
        "TRITON_INTERPRET": "1",
        "PYTHONPATH": os.pathsep.join((str(worker.parents[1]), str(kernels_folder))),
    }
    # Not forked: libraries look for Triton when they are imported.
    command = [sys.executable, str(worker), str(results)]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(results.read_text()))


@pytest.mark.parametrize("case", ["alone", "softened", "cotrained"])
@pytest.mark.parametrize(("backend", "rounding"), [("liger", 1e-6), ("cce", 2e-3)])
def test_a_fused_loss_has_the_values_and_gradients_of_ours(
    rows: Rows, backend: str, rounding: float, case: str
) -> None:
    found = rows[f"{backend}-{case}"]
    heads = {"strong", "strong_head", *(("weak", "weak_head") if case == "cotrained" else ())}
    assert found.keys() == {"per_token", "own_per_token", *heads}
    assert max(found.values()) <= rounding


@pytest.mark.parametrize("backend", ["chunked", "torch", "liger", "cce"])
def test_a_micro_batch_without_completion_tokens_ends_no_run(rows: Rows, backend: str) -> None:
    assert rows[f"{backend}-empty"] == {"loss": 0.0, "sums": 0.0, "gradient": 0.0}


def test_a_step_of_fused_layers_whose_weights_are_sharded_is_the_step_of_their_own(
    rows: Rows,
) -> None:
    assert rows["zero3"]["moved"] > 1e-3, "a weight did not learn: nothing was compared"
    assert rows["zero3"]["difference"] <= 1e-5


@pytest.mark.parametrize(
    ("model_type", "fused"),
    [
        ("qwen3", "5 LigerRMSNorm, 1 LigerSwiGLUMLP, 1 rotary embeddings"),
        ("llama", "3 LigerRMSNorm, 1 LigerSwiGLUMLP, 1 rotary embeddings"),
        # Norms that add to one, and GELU in place of SwiGLU.
        ("gemma3_text", "1 LigerGEGLUMLP, 7 LigerRMSNorm, 1 rotary embeddings"),
        # Norms after the layers, whose gradient is not theirs alone.
        ("olmo2", "3 LigerRMSNorm, 1 LigerSwiGLUMLP, 1 rotary embeddings"),
        # One matrix for gate and up, one for queries, keys and values.
        ("phi3", "1 LigerPhi3SwiGLUMLP, 3 LigerRMSNorm, 1 rotary embeddings"),
    ],
)
def test_fused_layers_have_the_values_and_gradients_of_their_own(
    rows: Rows, model_type: str, fused: str
) -> None:
    row = rows[model_type]
    assert row["said"].startswith(f"kernels of {model_type}: Liger ")
    assert f", {fused}; off in values by " in row["said"]
    assert row["difference"] <= 1e-5
    assert row["recomputed"] <= 1e-5
    assert row["names_kept"]


def test_other_models_in_the_process_keep_their_own_layers(rows: Rows) -> None:
    assert {row["another"] for row in rows.values() if "another" in row} == {0.0}


def test_what_liger_does_not_know_keeps_its_own_layers_or_is_refused(rows: Rows) -> None:
    assert rows["unknown"]["auto"].startswith("kernels of gpt2: its own layers, since Liger ")
    assert rows["unknown"]["auto"].endswith(" does not know gpt2")
    assert rows["unknown"]["liger"].endswith(" does not know gpt2; use auto or none")


def test_kernels_that_compute_something_else_are_found_out_and_taken_back(rows: Rows) -> None:
    assert "does not fit llama: it is off in values by " in rows["wrong"]["auto"]
    assert rows["wrong"]["auto"].startswith("kernels of llama: its own layers, since Liger ")
    assert rows["wrong"]["liger"].endswith("; use auto or none")
    assert rows["wrong"]["difference"] == 0.0

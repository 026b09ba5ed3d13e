"""Compiled blocks train as the models' own, and are compiled once for passes of all lengths."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from ranks import run_ranks

from wmss_cli.core.config import JointConfig


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="compiling for a CPU needs a C++ compiler")
def test_steps_of_compiled_blocks_are_those_of_the_models_own(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    run_ranks(Path(__file__).with_name("compile_worker.py"), [str(results)], 1)
    row = json.loads(results.read_text())
    own, compiled = row["own"], row["compiled"]
    assert own["graphs"][-1] == 0
    assert compiled["losses"] == pytest.approx(own["losses"], rel=1e-5)
    assert compiled["norms"] == pytest.approx(own["norms"], rel=1e-4)
    assert row["weights"] <= 1e-5
    # Attention before and after its documents, the MLP, and one for all norms of a width.
    assert compiled["graphs"][0] == 4
    assert compiled["graphs"][-1] == 4, "it was compiled again for another length"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"zero_stage": 3}, "compile blocks needs zero_stage 0, 1 or 2"),
        ({"kernels": "liger"}, "compile blocks replaces kernels liger"),
    ],
)
def test_what_cannot_be_compiled_is_refused(options: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        JointConfig.model_validate({"compile": "blocks", **options})

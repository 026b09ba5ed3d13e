"""Each engine's greedy answers on a GPU, and what keeps processes and GPUs together."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from tiny import make_tiny_model

from wmss_cli.evaluate.engine_choice import Engine, choose, flash_problem, vllm_problem
from wmss_cli.evaluate.generate import open_engine
from wmss_cli.launch.local import visible_gpus

PROMPTS = [[3, 5, 7, 11], [20, 40], [9] * 30, [6]]
STOP = 319


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("gpu") / "model")


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[int, list[int]]:
    _, write = open_engine("plain", folder, "bf16", 2)
    return dict(write(PROMPTS, 24, [STOP]))


@pytest.mark.parametrize("engine", ["static", "continuous", "vllm", "auto"])
def test_greedy_answers_are_those_of_one_prompt_at_a_time(
    engine: Engine, folder: Path, expected: dict[int, list[int]], rehearsal: bool
) -> None:
    if engine == "vllm" and (rehearsal or vllm_problem()):
        pytest.skip("vLLM is not installed")
    if engine == "continuous" and not rehearsal and flash_problem(torch.bfloat16):
        pytest.skip("there is no flash attention")
    _, write = open_engine(engine, folder, "bf16", 2)
    found = dict(write(PROMPTS, 24, [STOP]))
    same = sum(
        a == b for i, tokens in expected.items() for a, b in zip(tokens, found[i], strict=False)
    )
    # Two tokens may be equally probable in bf16, and then all that follow differ.
    assert same >= 0.7 * sum(map(len, expected.values()))


def test_auto_is_an_engine_that_works_here() -> None:
    name, why = choose("auto", torch.bfloat16)
    assert name in ("vllm", "continuous", "static")
    assert why


def test_the_launcher_sees_the_gpus_that_torch_sees(rehearsal: bool) -> None:
    assert len(visible_gpus()) == torch.cuda.device_count()
    if not rehearsal and "CUDA_VISIBLE_DEVICES" in os.environ:
        assert visible_gpus() == os.environ["CUDA_VISIBLE_DEVICES"].split(",")

"""vLLM as far as it can be had without a GPU: a package of its name that keeps to its interface."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from wmss_cli.core.errors import ConfigError, StageError
from wmss_cli.core.process_end import close_all
from wmss_cli.evaluate import vllm
from wmss_cli.evaluate.engine_choice import vllm_problem
from wmss_cli.evaluate.sampling import Sampling
from wmss_cli.evaluate.vllm import load_vllm, write_vllm

STAND_IN = """
import os
from types import SimpleNamespace as Thing

class SamplingParams:
    def __init__(self, **given):
        self.__dict__.update(given)

class LLM:
    def __init__(self, model, **given):
        assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
        if given["dtype"] == "float16":
            raise ValueError("no such architecture")
        self.calls, self.is_down = [], False
        self.llm_engine = Thing(engine_core=Thing(shutdown=self.stop))

    def stop(self):
        self.is_down = True

    def generate(self, prompts, settings, use_tqdm):
        self.calls.append(len(prompts))
        return [
            Thing(outputs=[Thing(token_ids=(*prompt["prompt_token_ids"], setting.seed))])
            for prompt, setting in zip(prompts, settings, strict=True)
        ]
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "__init__.py").write_text(STAND_IN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    assert vllm_problem() is None
    yield
    close_all()
    sys.modules.pop("vllm", None)


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_where_it_is_not_installed() -> None:
    assert vllm_problem() == "vLLM is not installed"


@pytest.mark.usefixtures("stand_in")
def test_its_engine_is_shut_down_when_the_process_leaves(tiny_model: Path) -> None:
    llm = load_vllm(tiny_model, "float32", None)
    assert not llm.is_down
    close_all()
    assert llm.is_down


@pytest.mark.usefixtures("stand_in")
def test_a_model_that_it_cannot_load_is_one_line(tiny_model: Path) -> None:
    line = r"vLLM cannot load it \(no such architecture\); set eval.engine to static"
    with pytest.raises(StageError, match=line):
        load_vllm(tiny_model, "float16", None)


@pytest.mark.usefixtures("stand_in")
def test_it_never_takes_the_gpu_of_another_process(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm, "device", lambda: torch.device("cuda", 3))
    with pytest.raises(ConfigError, match="uses the first GPU that it sees, and this process has"):
        load_vllm(tiny_model, "float32", None)


@pytest.mark.usefixtures("stand_in")
def test_answers_come_in_parts_that_are_kept_one_by_one(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm, "_AT_ONCE", 2)
    llm = load_vllm(tiny_model, "float32", None)
    sampling = Sampling(1.0, 0.9, (5, 6, 7))
    answers: Any = write_vllm(llm, [[1], [2], [3]], 4, [0], sampling)
    assert next(answers) == (0, [1, 5])
    assert llm.calls == [2], "the others are not waited for"
    assert list(answers) == [(1, [2, 6]), (2, [3, 7])]

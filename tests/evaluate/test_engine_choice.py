"""What `auto` stands for, and what is refused: on a CPU really, on a GPU as if there were one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers.utils import import_utils

from wmss_cli.core.errors import ConfigError
from wmss_cli.evaluate import engine_choice
from wmss_cli.evaluate.engine_choice import Engine, choose, flash_problem

BF16 = torch.bfloat16


def gpu(
    monkeypatch: pytest.MonkeyPatch, vllm: str | None = "no vLLM", flash: str | None = "no flash"
) -> None:
    """Have a GPU, with what is wrong with vLLM and flash attention."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(engine_choice, "vllm_problem", lambda: vllm)
    monkeypatch.setattr(engine_choice, "flash_problem", lambda _: flash)


@pytest.mark.parametrize("drawn", [False, True])
def test_without_a_gpu_auto_is_static(drawn: bool) -> None:
    assert choose("auto", torch.float32, drawn) == ("static", "there is no GPU")


@pytest.mark.parametrize(
    ("vllm", "flash", "engine", "said"),
    [
        (None, None, "vllm", "vLLM is installed"),
        (None, "no flash", "vllm", "vLLM is installed"),
        ("no vLLM", None, "continuous", "flash attention is installed; for vllm: no vLLM"),
        ("no vLLM", "no flash", "static", "for vllm: no vLLM; for continuous: no flash; without"),
    ],
)
def test_on_a_gpu_auto_is_the_first_that_works(
    vllm: str | None,
    flash: str | None,
    engine: Engine,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu(monkeypatch, vllm, flash)
    chosen = choose("auto", BF16)
    assert chosen.engine == engine
    assert chosen.why.startswith(said)


def test_what_is_drawn_by_auto_depends_on_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(monkeypatch, vllm=None, flash=None)
    chosen = choose("auto", BF16, drawn=True)
    assert chosen.engine == "static"
    assert "eval.engine vllm is several times faster" in chosen.why
    assert choose("vllm", BF16, drawn=True).engine == "vllm"


def test_continuous_with_one_dense_mask_is_refused_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert choose("continuous", torch.float32).engine == "continuous", "a CPU compares with it"
    gpu(monkeypatch)
    with pytest.raises(ConfigError) as caught:
        choose("continuous", BF16)
    assert str(caught.value) == (
        "eval.engine continuous: no flash; without flash attention each query attends to the keys "
        "of all requests through one dense mask, about ten times slower than it should be; "
        "install flash-attn, or set eval.engine to vllm, static or auto"
    )
    gpu(monkeypatch, flash=None)
    assert choose("continuous", BF16).engine == "continuous"


def test_vllm_that_does_not_import_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path, monkeypatch, "vllm", "raise ImportError('undefined symbol: _ZN3c10')")
    with pytest.raises(ConfigError, match=r"vLLM does not import \(undefined symbol: _ZN3c10\)"):
        choose("vllm", BF16)


def package(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    """Make a package of this name that can be imported."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)


# Flash attention, as transformers looks for it.


def found(monkeypatch: pytest.MonkeyPatch, *versions: int, kernels: bool = False) -> None:
    """Let transformers find these versions of flash attention, or their kernels of the hub."""
    for version in (2, 3):

        def available(kernels_fallback_ok: bool = False, version: int = version) -> bool:
            return version in versions and (kernels_fallback_ok or not kernels)

        monkeypatch.setattr(import_utils, f"is_flash_attn_{version}_available", available)


def test_flash_attention_takes_half_precision_only(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, 2, 3, kernels=True)
    assert flash_problem(BF16) is None
    assert flash_problem(torch.float32) == "flash attention does not compute in float32"


def test_here_transformers_finds_none() -> None:
    problem = flash_problem(BF16)
    assert problem is not None
    assert problem.startswith("transformers finds no flash attention (flash-attn, flash-attn-3, or")


@pytest.mark.parametrize(("version", "name"), [(3, "flash_attn_interface"), (2, "flash_attn")])
def test_a_package_that_transformers_takes_has_to_import(
    version: int, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(monkeypatch, version)
    package(tmp_path, monkeypatch, name, "raise ImportError('built for\\nanother torch')")
    assert flash_problem(BF16) == f"{name} does not import (built for)"
    (tmp_path / name / "__init__.py").write_text("", encoding="utf-8")
    assert flash_problem(BF16) is None

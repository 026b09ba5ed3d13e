"""Which engine writes the answers on this machine, and why."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Literal, NamedTuple

import torch

from wmss_cli.core.errors import ConfigError

Engine = Literal["auto", "static", "continuous", "vllm", "plain"]

DENSE = (
    "without flash attention each query attends to the keys of all requests through one dense "
    "mask, about ten times slower than it should be"
)
"""What `sdpa` costs under continuous batching."""
_DRAWN = (
    "answers are sampled, and samples depend on the engine, so auto is the same everywhere; "
    "on a GPU eval.engine vllm is several times faster"
)
_PAGED_COST = (
    "without paged attention at most 64 answers are written at a time (eval.batch_size), several "
    "times slower"
)
_FLASH = ("flash_attn_interface", "flash_attn")
# FlashAttention 3 and 2, in the order in which transformers takes them.


class Choice(NamedTuple):
    """An engine, and the reason for choosing it."""

    engine: Engine
    why: str


def choose(engine: Engine, dtype: torch.dtype, drawn: bool = False) -> Choice:
    """Return the engine that a name means on this machine.

    ``auto`` is ``vllm`` on a GPU if vLLM imports, else ``continuous`` if a flash-attention package
    that transformers accepts does, else ``static``. On a CPU it is ``static``, and for sampled
    answers it is ``static`` everywhere, since there the result depends on the engine.

    Parameters
    ----------
    engine : str
        See ``eval.engine`` in :mod:`wmss_cli.core.config`.
    dtype : torch.dtype
        The type of weights and activations.
    drawn : bool
        Whether tokens are sampled.

    Raises
    ------
    ConfigError
        If the engine is not installed, or would be much slower on this GPU than it should be.
    """
    if engine == "auto":
        return _auto(dtype, drawn)
    if engine == "vllm" and (problem := vllm_problem()):
        raise ConfigError(
            f"eval.engine vllm: {problem}; pip install 'wmss[vllm]', or set eval.engine to auto"
        )
    # On a CPU no engine is faster, so this one is allowed there, for comparisons.
    if engine == "continuous" and torch.cuda.is_available() and (problem := flash_problem(dtype)):
        raise dense(problem)
    return Choice(engine, "the configuration names it")


def dense(problem: str) -> ConfigError:
    """Return the error for continuous batching with `sdpa` on a GPU."""
    return ConfigError(
        f"eval.engine continuous: {problem}; {DENSE}; install flash-attn, or set eval.engine to "
        "vllm, static or auto"
    )


def _auto(dtype: torch.dtype, drawn: bool) -> Choice:
    if not torch.cuda.is_available():
        return Choice("static", "there is no GPU")
    if drawn:
        return Choice("static", _DRAWN)
    vllm = vllm_problem()
    if vllm is None:
        return Choice("vllm", "vLLM is installed")
    flash = flash_problem(dtype)
    if flash is None:
        return Choice("continuous", f"flash attention is installed; for vllm: {vllm}")
    return Choice("static", f"for vllm: {vllm}; for continuous: {flash}; {_PAGED_COST}")


def vllm_problem() -> str | None:
    """Return why vLLM cannot be used here."""
    if not find_spec("vllm"):
        return "vLLM is not installed"
    # The engine runs in this process: then no other process can outlive the stage and keep the GPU,
    # and the schedule is the same in every run.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    try:
        from vllm import LLM  # noqa: F401
    except Exception as error:
        # Usually it was built for another version of torch.
        return f"vLLM does not import ({_line(error)})"
    return None


def flash_problem(dtype: torch.dtype) -> str | None:
    """Return why transformers' continuous batching would not use flash attention on this GPU.

    It checks as transformers does: first the packages, then `kernels` with files of the hub. Under
    ``HF_HUB_OFFLINE=1`` only the cached ones exist.
    """
    if dtype not in (torch.bfloat16, torch.float16):
        return f"flash attention does not compute in {str(dtype).removeprefix('torch.')}"
    from transformers.utils import import_utils

    checks = (import_utils.is_flash_attn_3_available, import_utils.is_flash_attn_2_available)
    for package, is_available in zip(_FLASH, checks, strict=True):
        if is_available():
            try:
                import_module(package)
            except Exception as error:
                # Built for another version of torch: transformers would select it, and fail.
                return f"{package} does not import ({_line(error)})"
            return None
        try:
            if is_available(kernels_fallback_ok=True):
                return None
        except TypeError:
            return "transformers is too old for it (tested with 5.23)"
    return (
        "transformers finds no flash attention (flash-attn, flash-attn-3, or kernels with its "
        "files in the hub's cache)"
    )


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)

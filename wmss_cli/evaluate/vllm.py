"""Generation by vLLM, which is installed by the extra `vllm`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wmss_cli.core.errors import ConfigError, StageError
from wmss_cli.core.process_end import at_end
from wmss_cli.evaluate.sampling import Sampling
from wmss_cli.models.causal import device
from wmss_cli.models.matching import check_stored

_AT_ONCE = 2048
"""Answers that are generated together: what exists is kept when the stage is interrupted."""


def load_vllm(folder: Path, dtype: str, slots: int | None) -> Any:
    """Load a model into vLLM, whose engine is shut down however the process ends.

    Parameters
    ----------
    folder : Path
        The folder of the model.
    dtype : str
        The type of weights and activations: ``bfloat16`` or ``float32``.
    slots : int or None
        Most prompts at a time; None for vLLM's own limit.

    vLLM must import, which :func:`wmss_cli.evaluate.engine_choice.vllm_problem` checks.

    Raises
    ------
    ConfigError
        If the weights do not match the model's configuration, or this process should use a GPU
        other than the first one it sees, which vLLM would use.
    StageError
        If vLLM cannot load the model.
    """
    gpu = device()
    if gpu.index:
        raise ConfigError(
            f"eval.engine vllm uses the first GPU that it sees, and this process has {gpu}; show "
            "each process only its own GPU (CUDA_VISIBLE_DEVICES)"
        )
    # vLLM leaves weights that a checkpoint lacks uninitialized.
    check_stored(folder)
    from vllm import LLM

    limit = {} if slots is None else {"max_num_seqs": slots}
    try:
        llm = LLM(
            model=str(folder),
            dtype=dtype,
            skip_tokenizer_init=True,
            enable_prefix_caching=True,
            # Not the sampling settings that the model's folder may contain.
            generation_config="vllm",
            **limit,
        )
    except Exception as error:
        raise StageError(
            f"{folder}: vLLM cannot load it ({error}); set eval.engine to static"
        ) from error
    at_end(llm.llm_engine.engine_core.shutdown)
    return llm


def write_vllm(
    llm: Any,
    prompt_ids: Sequence[list[int]],
    max_new_tokens: int,
    stop_token_ids: Sequence[int],
    sampling: Sampling | None = None,
) -> Iterator[tuple[int, list[int]]]:
    """Continue prompts; answers come in order, in large batches.

    Parameters
    ----------
    llm : vllm.LLM
        From :func:`load_vllm`.

    Other parameters and what is yielded are as in :func:`wmss_cli.evaluate.static.write_static`.
    """
    from vllm import SamplingParams

    drawn = {} if sampling is None else {"top_p": sampling.top_p}
    settings = [
        SamplingParams(
            temperature=0.0 if sampling is None else sampling.temperature,
            seed=None if sampling is None else sampling.seeds[index],
            max_tokens=max_new_tokens,
            stop_token_ids=list(stop_token_ids),
            # The end of sequence is among the stop tokens; the tokenizer's own is ignored.
            ignore_eos=True,
            detokenize=False,
            **drawn,
        )
        for index in range(len(prompt_ids))
    ]
    prompts = [{"prompt_token_ids": ids} for ids in prompt_ids]
    for first in range(0, len(prompts), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        outputs = llm.generate(prompts[some], settings[some], use_tqdm=False)
        for index, output in enumerate(outputs, first):
            yield index, list(output.outputs[0].token_ids)

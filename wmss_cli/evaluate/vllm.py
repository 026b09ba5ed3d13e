"""Generation by vLLM, which the extra `vllm` installs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from wmss_cli.core.errors import ConfigError
from wmss_cli.evaluate.sampling import Sampling
from wmss_cli.models.matching import check_stored


def check_vllm() -> None:
    """Refuse to go on without vLLM.

    Raises
    ------
    ConfigError
        If it is not installed.
    """
    if not find_spec("vllm"):
        raise ConfigError(
            "eval.engine vllm is not installed; pip install 'wmss[vllm]', or use auto"
        )


def load_vllm(folder: Path, dtype: str, slots: int | None) -> Any:
    """Load a model into vLLM.

    Parameters
    ----------
    folder : Path
        Of the model.
    dtype : str
        Of weights and activations: ``bfloat16`` or ``float32``.
    slots : int or None
        Most prompts at a time; None for vLLM's own limit.

    Raises
    ------
    ConfigError
        If vLLM is not installed, or the weights do not match the model's configuration.
    """
    check_vllm()
    # vLLM leaves weights that a checkpoint lacks as they happen to be.
    check_stored(folder)
    from vllm import LLM

    limit = {} if slots is None else {"max_num_seqs": slots}
    return LLM(
        model=str(folder),
        dtype=dtype,
        skip_tokenizer_init=True,
        enable_prefix_caching=True,
        # Not the settings for sampling that the model's folder may hold.
        generation_config="vllm",
        **limit,
    )


def write_vllm(
    llm: Any,
    prompt_ids: Sequence[list[int]],
    max_new_tokens: int,
    stop_token_ids: Sequence[int],
    sampling: Sampling | None = None,
) -> Iterator[tuple[int, list[int]]]:
    """Continue prompts; the answers come all at once, in order.

    Parameters
    ----------
    llm : vllm.LLM
        From :func:`load_vllm`.

    Other parameters and what is yielded as in :func:`wmss_cli.evaluate.static.write_static`.
    """
    from vllm import SamplingParams

    drawn = {} if sampling is None else {"top_p": sampling.top_p}
    settings = [
        SamplingParams(
            temperature=0.0 if sampling is None else sampling.temperature,
            seed=None if sampling is None else sampling.seeds[index],
            max_tokens=max_new_tokens,
            stop_token_ids=list(stop_token_ids),
            # The end of sequence is among the stop tokens; the tokenizer's own has no say.
            ignore_eos=True,
            detokenize=False,
            **drawn,
        )
        for index in range(len(prompt_ids))
    ]
    prompts = [{"prompt_token_ids": ids} for ids in prompt_ids]
    for index, output in enumerate(llm.generate(prompts, settings, use_tqdm=False)):
        yield index, list(output.outputs[0].token_ids)

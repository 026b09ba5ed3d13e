"""The number of tokens a model was made for, by its ``config.json``. torch is not imported here."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_NAMES = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "n_ctx")
_WITHOUT_POSITIONS = ("bloom", "mpt")
"""Biases by distance work for any length. State-space models (Mamba) have no positions at all."""
_STRETCHED = ("yarn", "linear", "dynamic", "ntk")
"""Scalings of rotary embeddings whose factor `max_position_embeddings` does not yet include."""

DEFAULTS = {
    "gpt2": 1024,
    "gpt_neo": 2048,
    "gptj": 2048,
    "gpt_neox": 2048,
    "opt": 2048,
    "phi": 2048,
    "llama": 2048,
    "mistral": 131072,
    "qwen2": 32768,
    "qwen3": 32768,
    "gemma": 8192,
    "gemma2": 8192,
    "gemma3_text": 131072,
}
"""Defaults of transformers if ``config.json`` has no value."""


@dataclass(frozen=True)
class Context:
    """How long a text may be.

    Attributes
    ----------
    tokens : int
        Prompt and answer together.
    source : str
        The entry of ``config.json`` that says so.
    apart : int or None
        Up to how many tokens texts in one pass do not depend on each other; None if always. Beyond,
        rotary embeddings are those of the longest one.
    """

    tokens: int
    source: str
    apart: int | None = None


def context_of(config: Mapping[str, Any]) -> Context | None:
    """Return the context of a model; None if there is no limit, or none is known.

    Parameters
    ----------
    config : mapping
        The content of a ``config.json``. If the model also reads images, its language model counts.
    """
    text = config.get("text_config")
    if isinstance(text, Mapping):
        config = text
    kind = str(config.get("model_type"))
    if kind in _WITHOUT_POSITIONS or config.get("alibi"):
        return None
    given = [(name, config[name]) for name in _NAMES if _is_count(config.get(name))]
    if not given and kind not in DEFAULTS:
        return None
    name, tokens = given[0] if given else ("max_position_embeddings", DEFAULTS[kind])
    apart = _apart(config, tokens)
    # Gemma 3 already states the extended length.
    scalings = [] if kind.startswith("gemma3") else list(_scalings(config))
    for scaling in scalings:
        original = scaling.get("original_max_position_embeddings")
        factor = scaling.get("factor")
        if isinstance(factor, int | float) and factor > 1:
            stretched = int((original or tokens) * factor)
            if stretched > tokens:
                source = f"{name} and the scaling of its rotary embeddings"
                return Context(stretched, source, apart)
    return Context(tokens, name, apart)


def _apart(config: Mapping[str, Any], tokens: int) -> int | None:
    """Return up to how many tokens texts in one pass do not depend on each other.

    transformers derives the frequencies of these types from the largest position of a pass.
    """
    name = "original_max_position_embeddings"
    found = [
        one.get(name) or config.get(name) or tokens for one in _scalings(config, ("longrope",))
    ]
    return min([*found, *(tokens for _ in _scalings(config, ("dynamic",)))], default=None)


def _scalings(
    config: Mapping[str, Any], kinds: Collection[str] = _STRETCHED
) -> Iterator[Mapping[str, Any]]:
    """Yield the settings of rotary embeddings, for all layers or for each kind of layer."""
    for name in ("rope_scaling", "rope_parameters"):
        said = config.get(name)
        if isinstance(said, Mapping):
            for one in (said, *(value for value in said.values() if isinstance(value, Mapping))):
                if one.get("rope_type", one.get("type")) in kinds:
                    yield one


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0

"""Whether weights match a ``config.json``, by the headers of their files, without torch.

This never finds more than :mod:`wmss_cli.models.matching` finds when a model is loaded: for
well-known architectures the same, and for others what they have in common.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.shape import ModelShape
from wmss_cli.models.weights import Stored

_SHOWN = 3
# Buffers in older checkpoints of well-known models, on which no weight depends; transformers itself
# ignores most of them.
_HARMLESS = re.compile(
    r"(^|\.)(masked_bias|attn\.bias|attention\.bias|rotary_emb\.\w+|position_ids|"
    r"(cos|sin)_cached|inv_freq)$"
)
_PREFIXES = {
    "base_model.model.": "merge the PEFT adapter first (merge_and_unload, then save_pretrained)",
    "module.": "save the model without the wrapper of DataParallel",
    "_orig_mod.": "save the model that torch.compile wraps, its _orig_mod",
}
_KNOWN = ("llama", "mistral", "qwen2", "qwen3", "gemma3_text")
"""Architectures with all weights known by name and shape."""
_UNIFORM = (
    *("gpt2", "gpt_neox", "gptj", "opt", "gemma", "gemma2", "phi", "phi3", "olmo2", "granite"),
    *("cohere", "starcoder2", "smollm3", "stablelm", "bloom", "falcon", "glm", "glm4"),
)
"""Architectures in which the weights of all layers have the same names."""
_LAYER = re.compile(r"^(.*?\b(?:layers|h|blocks))\.(\d+)\.(.+)$")
_OTHER_PARTS = re.compile(r"vision|visual|image|audio|speech|encoder|mtp|talker|projector")
_EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|embed_in|word_embeddings)\.weight$")
_HEAD = re.compile(r"(^|\.)(lm_head|embed_out|output|output_layer|head|decoder)\.weight$")
_LAYER_COUNTS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")

Mismatch = tuple[str, tuple[int, ...], tuple[int, ...]]
"""Name, shape in the files, shape by ``config.json``."""


def check_shapes(folder: Path, config: Mapping[str, Any], stored: Mapping[str, Stored]) -> None:
    """Refuse weights that are missing, left over or have another shape, as far as names tell.

    Parameters
    ----------
    folder : Path
        The folder of the model, for the message.
    config : mapping
        The content of its ``config.json``.
    stored : mapping of str to Stored
        See :func:`wmss_cli.models.weights.stored_tensors`; nothing is refused if it is empty.

    Raises
    ------
    ConfigError
        See :func:`mismatch`.
    """
    # Quantised weights have other names, and are refused if they are to be trained.
    if not stored or config.get("quantization_config"):
        return
    names = [name for name in stored if not is_harmless(name)]
    if advice_on_names(names) is not None:
        raise mismatch(folder, [], names, [], [])
    wanted = expected(config)
    if wanted is not None:
        _compare(folder, stored, wanted)
        return
    text = config["text_config"] if isinstance(config.get("text_config"), Mapping) else config
    missing, unexpected = _layers(text, names)
    if config.get("tie_word_embeddings", text.get("tie_word_embeddings")) is False and not any(
        map(_HEAD.search, names)
    ):
        missing.append("lm_head.weight")
    vocab_size = text.get("vocab_size")
    shapes = [
        (name, stored[name].shape, (vocab_size, *stored[name].shape[1:]))
        for name in names
        if _EMBEDDING.search(name) and not _OTHER_PARTS.search(name)
        # Some have additional rows after it, such as Llama 3.2 Vision's image token.
        if isinstance(vocab_size, int) and stored[name].shape[0] < vocab_size
    ]
    if missing or unexpected or shapes:
        raise mismatch(folder, missing, unexpected, shapes, [])


def embedding_rows(stored: Mapping[str, Stored]) -> int | None:
    """Return the rows of the embedding by the headers of the files; None if there is none."""
    rows = {
        tensor.shape[0]
        for name, tensor in stored.items()
        if _EMBEDDING.search(name) and not _OTHER_PARTS.search(name) and tensor.shape
    }
    return min(rows, default=None)


def expected(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]] | None:
    """Return the shape of every weight by name; None if the architecture is unknown."""
    if config.get("model_type") not in _KNOWN:
        return None
    try:
        shape = ModelShape.of_config(config)
    except ConfigError:
        return None
    hidden = shape.hidden_size
    wanted = {
        "model.embed_tokens.weight": (shape.vocab_size, hidden),
        "model.norm.weight": (hidden,),
    }
    for layer in range(shape.layers):
        for name, size in _block(shape):
            wanted[f"model.layers.{layer}.{name}"] = size
    if not shape.tied:
        wanted["lm_head.weight"] = (shape.vocab_size, hidden)
    return wanted


def mismatch(
    folder: Path,
    missing: Collection[str],
    unexpected: Collection[str],
    shapes: Collection[Mismatch],
    unreadable: Collection[str],
) -> ConfigError:
    """Return the error that names the first weights of each kind, how many, and what to do."""
    other_shape = [
        f"{name}: {list(there)} in the files, {list(wanted)} by config.json"
        for name, there, wanted in sorted(shapes)
    ]
    kinds = {
        "missing": sorted(missing),
        "unexpected": sorted(unexpected),
        "of another shape": other_shape,
        "unreadable": unreadable,
    }
    found = [f"{len(names)} {kind} ({some(names)})" for kind, names in kinds.items() if names]
    return ConfigError(
        f"{folder}: weights do not match config.json: {', '.join(found)}; "
        f"{_advice(missing, unexpected)}"
    )


def is_harmless(name: str) -> bool:
    """Return whether a tensor of a checkpoint is a buffer that no model needs."""
    return _HARMLESS.search(name) is not None


def some(names: Collection[str]) -> str:
    """Return the first few names."""
    return ", ".join([*list(names)[:_SHOWN], *(["…"] if len(names) > _SHOWN else [])])


def advice_on_names(names: Collection[str]) -> str | None:
    """Return what to do about weights that another tool has wrapped; None if none has."""
    for prefix, advice in _PREFIXES.items():
        if names and all(name.startswith(prefix) for name in names):
            return f"keys begin with {prefix}: {advice}"
    if any(".lora_" in name for name in names):
        return f"they belong to an adapter: {_PREFIXES['base_model.model.']}"
    return None


def _advice(missing: Collection[str], unexpected: Collection[str]) -> str:
    advice = advice_on_names(unexpected)
    if advice is not None:
        return advice
    if list(missing) == ["lm_head.weight"] and not unexpected:
        return "copy the head too, or set tie_word_embeddings if the model shares its embedding"
    return "take config.json and all weight files from the same model"


def _block(shape: ModelShape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the weights of a layer, under the names that Llama and related models use."""
    hidden, inner = shape.hidden_size, shape.intermediate_size
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    for name, rows in (("q", queries), ("k", keys), ("v", keys)):
        yield f"self_attn.{name}_proj.weight", (rows, hidden)
        if shape.qkv_bias:
            yield f"self_attn.{name}_proj.bias", (rows,)
    yield "self_attn.o_proj.weight", (hidden, queries)
    if shape.output_bias:
        yield "self_attn.o_proj.bias", (hidden,)
    if shape.qk_norm:
        yield "self_attn.q_norm.weight", (shape.head_dim,)
        yield "self_attn.k_norm.weight", (shape.head_dim,)
    for name, size in (
        ("gate", (inner, hidden)),
        ("up", (inner, hidden)),
        ("down", (hidden, inner)),
    ):
        yield f"mlp.{name}_proj.weight", size
        if shape.mlp_bias:
            yield f"mlp.{name}_proj.bias", size[:1]
    norms = ["input_layernorm", "post_attention_layernorm"]
    if shape.norms > len(norms):
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    for name in norms:
        yield f"{name}.weight", (hidden,)


def _compare(
    folder: Path,
    stored: Mapping[str, Stored],
    wanted: Mapping[str, tuple[int, ...]],
) -> None:
    # transformers accepts weights with and without the prefix of the submodule they are in.
    there = {_core(name): (name, tensor) for name, tensor in stored.items()}
    cores = {_core(name): (name, shape) for name, shape in wanted.items()}
    missing = [name for core, (name, _) in cores.items() if core not in there]
    unexpected = [
        name
        for core, (name, _) in there.items()
        # A tied head may be in the files, too.
        if core not in cores and core != "lm_head.weight" and not is_harmless(name)
    ]
    shapes = [
        (name, there[core][1].shape, shape)
        for core, (name, shape) in cores.items()
        if core in there and there[core][1].shape != shape
    ]
    if missing or unexpected or shapes:
        raise mismatch(folder, missing, unexpected, shapes, [])


def _core(name: str) -> str:
    while name.startswith("model."):
        name = name.removeprefix("model.")
    return name


def _layers(config: Mapping[str, Any], names: Collection[str]) -> tuple[list[str], list[str]]:
    """Return the missing and left-over weights of layers, by the layers' numbers and names."""
    stacks: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name in names:
        found = _LAYER.match(name)
        if found is not None and not _OTHER_PARTS.search(found[1]):
            stacks[found[1]][int(found[2])].add(found[3])
    counts = [config[name] for name in _LAYER_COUNTS if isinstance(config.get(name), int)]
    if len(stacks) != 1 or not counts:
        return [], []
    [(stack, layers)] = stacks.items()
    # Layers that predict further tokens come after the others, and are not loaded.
    further = config.get("num_nextn_predict_layers") or 0
    unexpected = [
        f"{stack}.{number}.{name}"
        for number in sorted(layers)
        if number >= counts[0] + further
        for name in layers[number]
    ]
    whole: set[str] = set()
    if config.get("model_type") in _UNIFORM:
        whole = set.union(*(layers[number] for number in layers))
    missing = []
    for number in range(counts[0]):
        if number not in layers:
            missing += [f"{stack}.{number}.{name}" for name in sorted(whole)] or [
                f"{stack}.{number}"
            ]
        else:
            missing += [f"{stack}.{number}.{name}" for name in sorted(whole - layers[number])]
    return missing, unexpected

"""Greedy generation: the engine that eval uses against one prompt at a time and plain batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from wmss_cli.bench.memory import peak_memory
from wmss_cli.bench.models import random_model, shape_of, smollm2
from wmss_cli.bench.results import Agreement, BenchTable, Entry, Ratio, Spread, at_least
from wmss_cli.bench.samples import GSM8K_LENGTHS, random_rows
from wmss_cli.bench.timing import MatrixProduct, Rival, Timed, alternate
from wmss_cli.core.errors import IntegrityError
from wmss_cli.data.tokens import TokenTable
from wmss_cli.evaluate.continuous import write_continuous
from wmss_cli.evaluate.engine_choice import flash_problem
from wmss_cli.evaluate.generate import STATIC_SLOTS
from wmss_cli.evaluate.plain import settings, write_plain
from wmss_cli.evaluate.static import write_static
from wmss_cli.models.causal import device, load_for_inference
from wmss_cli.models.shape import ModelShape
from wmss_cli.models.tokenizer import load_tokenizer_of

WMSS, ONE, BATCHES = "wmss", "one at a time", "batches of 16"
_AT_A_TIME = {ONE: 1, BATCHES: 16}
_ALLOWED = 0.05
# Share of answers that may differ, since two tokens may be equally probable up to rounding.
_WARM_UP_TOKENS = 4
_NOTHING = -1
# Marks positions after the end of an answer.

Write = Callable[..., Iterator[tuple[int, list[int]]]]
"""(model, prompts, most new tokens, stop tokens) to (index of the prompt, continuation)."""


@dataclass(frozen=True)
class GenerateSize:
    """SmolLM2-135M's shape with this many layers, the number of prompts, and tokens per answer."""

    layers: int
    vocab_size: int
    prompts: int
    new_tokens: int


@dataclass(frozen=True)
class Own:
    """A given model and prompts, instead of random ones.

    Attributes
    ----------
    model, tokens : str
        Folder of the model, and the result of the tokenize stage with its tokenizer.
    """

    model: str
    tokens: str


TABLE = GenerateSize(30, 49_152, 64, 128)
SMALL = GenerateSize(2, 4096, 20, 8)


def measure(
    size: GenerateSize, rounds: int, on_run: Callable[[], None], _: Path, own: Own | None = None
) -> list[BenchTable]:
    """Measure tokens/s and peak memory, and compare the answers token by token."""
    names = (WMSS, ONE, BATCHES)
    subject = _Subject.of(size, own)
    product = MatrixProduct(subject.model.dtype)
    timed = alternate(_rivals(subject, names), rounds, product, on_run)
    agreement = _agreement(timed)
    small = size == SMALL
    memory = {
        name: peak_memory(build, (size, own), name, on_run, forked=small).peak for name in names
    }
    has_goal = size == TABLE and device().type == "cpu"
    ratios = [
        Ratio(
            quantity="speed",
            name=f"{name} / {ONE}",
            value=_faster(timed, name, ONE),
            goal=at_least(6.0) if has_goal and name == WMSS else None,
        )
        for name in (WMSS, BATCHES)
    ]
    what = f"model {own.model}" if own else f"SmolLM2's shape with {size.layers} layers"
    return [
        BenchTable(
            bench="generate",
            title=f"{size.prompts} answers of up to {size.new_tokens} tokens, {what}",
            memory="peak of the process",
            entries=tuple(_entry(name, timed, memory, subject) for name in names),
            ratios=tuple(ratios),
            rate=timed.rate(product.shape),
            agreements=(agreement,),
            sizes=asdict(size),
        )
    ]


def build(size: GenerateSize, own: Own | None, names: Sequence[str]) -> dict[str, Rival]:
    """Make the rivals, each with its number of prompts at a time, which determines its peak."""
    subject = _Subject.of(size, own)
    most = max(_AT_A_TIME.get(name, size.prompts) for name in names)
    subject.prompts = sorted(subject.prompts, key=len)[-most:]
    return _rivals(subject, names)


@dataclass
class _Subject:
    """The model, its prompts, and the tokens that end an answer."""

    model: PreTrainedModel
    shape: ModelShape
    prompts: list[list[int]]
    new_tokens: int
    stops: list[int]

    @classmethod
    def of(cls, size: GenerateSize, own: Own | None) -> _Subject:
        if own is None:
            config = smollm2(size.layers, size.vocab_size)
            rows = random_rows(GSM8K_LENGTHS[: size.prompts], size.vocab_size)
            prompts = [row[: pair[0]] for row, pair in zip(rows, GSM8K_LENGTHS, strict=False)]
            model, stops = random_model(config).eval(), [0]
        else:
            table = TokenTable(Path(own.tokens))
            count = min(size.prompts, len(table))
            lengths = table.prompt_lengths
            prompts = [table.input_ids(i)[: lengths[i]].tolist() for i in range(count)]
            load_tokenizer_of(Path(own.model), table.tokenizer, own.tokens)
            model, stops = load_for_inference(Path(own.model), "auto"), table.stop_token_ids
        return cls(model, shape_of(model.config.to_dict()), prompts, size.new_tokens, stops)


def _rivals(subject: _Subject, names: Sequence[str]) -> dict[str, Rival]:
    ways: dict[str, Write] = {WMSS: _engine(subject.model), ONE: write_plain, BATCHES: _batches}
    return {
        name: Rival(
            partial(_written, ways[name], subject, subject.new_tokens),
            read=lambda answers: {"answers": answers},
            warm_up=partial(_written, ways[name], subject, _WARM_UP_TOKENS),
        )
        for name in names
    }


def _engine(model: PreTrainedModel) -> Write:
    """Return what ``eval.engine: auto`` means if vLLM is not installed."""
    if model.device.type == "cuda" and flash_problem(model.dtype) is None:
        return write_continuous
    return partial(write_static, slots=STATIC_SLOTS)


def _written(write: Write, subject: _Subject, new_tokens: int) -> NDArray[np.float64]:
    """Return the answers, ``[prompts, new_tokens]``."""
    answers = np.full((len(subject.prompts), new_tokens), float(_NOTHING))
    for i, written in write(subject.model, subject.prompts, new_tokens, subject.stops):
        answers[i, : len(written)] = written
    return answers


def _batches(
    model: PreTrainedModel,
    prompt_ids: Sequence[list[int]],
    max_new_tokens: int,
    stop_token_ids: Sequence[int],
) -> Iterator[tuple[int, list[int]]]:
    """Let `generate` process sixteen at a time, sorted by length and padded on the left."""
    order = sorted(range(len(prompt_ids)), key=lambda i: len(prompt_ids[i]))
    for first in range(0, len(order), _AT_A_TIME[BATCHES]):
        rows = order[first : first + _AT_A_TIME[BATCHES]]
        width = max(len(prompt_ids[i]) for i in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, i in enumerate(rows):
            ids[row, width - len(prompt_ids[i]) :] = torch.tensor(prompt_ids[i])
            mask[row, width - len(prompt_ids[i]) :] = 1
        with torch.inference_mode(), settings(model, max_new_tokens, stop_token_ids):
            output = cast(Any, model).generate(
                input_ids=ids.to(model.device), attention_mask=mask.to(model.device)
            )
        for i, written in zip(rows, output[:, width:].tolist(), strict=True):
            ends = [at + 1 for at, token in enumerate(written) if token in stop_token_ids]
            yield i, written[: ends[0]] if ends else written


def _agreement(timed: Timed) -> Agreement:
    """Return the largest share of answers that differ from those of one prompt at a time."""
    worst = 0.0
    for name, rounds in timed.values.items():
        for found, right in zip(rounds, timed.values[ONE], strict=True):
            differ = (found["answers"] != right["answers"]).any(axis=1)
            worst = max(worst, float(differ.mean()))
            if worst > _ALLOWED:
                raise IntegrityError(
                    f"bench: {differ.sum()} of {len(differ)} answers of '{name}' differ from those "
                    f"of '{ONE}': they do not do the same work, so no times are compared"
                )
    return Agreement(
        what="share of other answers", difference=worst, allowed=_ALLOWED, relative=False
    )


def _speeds(timed: Timed, name: str) -> list[float]:
    """Return the tokens/s of each round, counting the tokens that were written."""
    tokens = [int((values["answers"] != _NOTHING).sum()) for values in timed.values[name]]
    return [count / s for count, s in zip(tokens, timed.seconds[name], strict=True)]


def _faster(timed: Timed, name: str, other: str) -> Spread:
    pairs = zip(_speeds(timed, name), _speeds(timed, other), strict=True)
    return Spread.of([one / two for one, two in pairs])


def _entry(name: str, timed: Timed, memory: dict[str, int], subject: _Subject) -> Entry:
    answers = timed.values[name][-1]["answers"]
    written = (answers != _NOTHING).sum(axis=1)
    # The model does not read the last token of an answer.
    lengths = [len(p) + int(n) - 1 for p, n in zip(subject.prompts, written, strict=True)]
    flops = subject.shape.forward_flops(lengths, int(written.sum()))
    return Entry(
        name=name,
        seconds=timed.time(name),
        unit="tokens",
        per_second=Spread.of(_speeds(timed, name)),
        limit=timed.limit(name, flops),
        memory_bytes=memory[name],
    )

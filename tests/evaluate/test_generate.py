from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from evaluate.writers import argmax, make_model
from families import make_family
from tokenizers import AddedToken
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wmss_cli.core.errors import ConfigError
from wmss_cli.core.tags import TAGS
from wmss_cli.evaluate.engine_choice import Engine
from wmss_cli.evaluate.generate import Generation, generate, open_engine
from wmss_cli.evaluate.sampling import Sampling
from wmss_cli.evaluate.static import write_static
from wmss_cli.models.tokenizer import load_tokenizer

PROMPTS = ["Tom has 3 apples.", "How many?", "Anna buys 12 more books, then loses 5.", "x"]


def in_order(found: Iterator[tuple[int, Generation]]) -> list[Generation]:
    return [generation for _, generation in sorted(found, key=lambda pair: pair[0])]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> PreTrainedModel:
    return make_model("qwen3", tiny_model)


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(tiny_model)


@pytest.fixture(scope="module")
def ids(tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    return tokenizer(PROMPTS)["input_ids"]


@pytest.mark.parametrize("engine", ["auto", "static", "continuous", "plain"])
def test_every_engine_gives_the_same_in_the_order_of_the_prompts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: list[list[int]],
    tiny_model: Path,
    engine: Engine,
) -> None:
    name, write = open_engine(engine, tiny_model, "fp32", 3)
    answers = in_order(generate(write, tokenizer, ids, 16, [tokenizer.eos_token_id]))
    expected = [tokenizer.decode(argmax(model, prompt, 16)) for prompt in ids]
    assert answers == [Generation(text, 16, "length") for text in expected]
    assert len(set(expected)) == len(PROMPTS)
    assert name == ("static" if engine == "auto" else engine)


def test_the_log_says_what_was_chosen_and_why(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_engine("auto", tiny_model, "fp32", 3)
    assert capsys.readouterr().out == "eval.engine auto: static, since there is no GPU\n"


def test_auto_takes_any_model_and_says_what_it_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, write = open_engine("auto", make_family(tmp_path / "mamba", "Mamba"), "fp32", 3)
    assert name == "plain"
    said = capsys.readouterr().out
    assert "eval.engine auto: plain, since mamba: not all of its layers attend" in said
    assert said.endswith("one answer is written at a time\n")
    assert len(dict(write([[3, 4], [5]], 4, [1]))) == 2


def test_an_engine_that_is_not_installed_is_refused_before_the_model_loads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wmss_cli.evaluate.engine_choice.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"eval\.engine vllm: vLLM is not installed; pip install"):
        open_engine("vllm", Path("nowhere"), "fp32", None)


def test_the_stop_token_is_neither_counted_nor_shown(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ids: list[list[int]]
) -> None:
    tokens = argmax(model, ids[0], 16)
    stop = max(tokens, key=tokens.index)
    before = tokens[: tokens.index(stop)]
    write = partial(write_static, model, slots=4)

    first, *_ = in_order(generate(write, tokenizer, ids, 16, [stop]))
    empty, *_ = in_order(generate(write, tokenizer, ids, 16, [tokens[0]]))

    assert first == Generation(tokenizer.decode(before), len(before), "stop")
    assert empty == Generation("", 0, "stop")


def test_special_tokens_are_counted_but_not_shown(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tiny_model: Path
) -> None:
    prompt = tokenizer("x")["input_ids"]
    tokens = argmax(model, prompt, 5)
    pieces = [tokenizer.decode(token) for token in tokens]
    special = next(piece for piece in pieces if piece.isalnum())
    other = load_tokenizer(tiny_model)
    other.add_special_tokens({"extra_special_tokens": [special]})
    shown = [token for token, piece in zip(tokens, pieces, strict=True) if piece != special]

    write = partial(write_static, model, slots=4)
    answers = in_order(generate(write, other, [prompt], 5, [tokenizer.eos_token_id]))

    assert answers == [Generation(tokenizer.decode(shown), 5, "length")]


@pytest.mark.parametrize("special", [False, True])
def test_tags_are_shown_though_they_are_special_tokens(tiny_model: Path, special: bool) -> None:
    """Otherwise the thinking would be graded."""
    tokenizer = load_tokenizer(tiny_model)
    tokens = [AddedToken(tag, special=special) for tag in TAGS]
    tokenizer.add_tokens(tokens, special_tokens=special)
    # Special without a role, as most of Llama 3's.
    tokenizer.add_tokens([AddedToken("<|header|>", special=True)])
    text = "<think>Is it 12? No.</think><answer>18</answer>"
    written = tokenizer(f"{text}<|header|>")["input_ids"]
    assert set(tokenizer.convert_tokens_to_ids(list(TAGS))) <= set(written)

    def write(*_: object, **__: object) -> Iterator[tuple[int, list[int]]]:
        yield 0, [*written, tokenizer.eos_token_id]

    answers = in_order(generate(write, tokenizer, [[1]], 99, [tokenizer.eos_token_id]))
    assert answers == [Generation(text, len(written), "stop")]


@pytest.mark.parametrize(
    "engine", ["static", pytest.param("continuous", marks=pytest.mark.slow), "plain"]
)
def test_what_is_drawn_is_the_same_for_the_same_seeds(
    tokenizer: PreTrainedTokenizerBase, ids: list[list[int]], tiny_model: Path, engine: Engine
) -> None:
    _, write = open_engine(engine, tiny_model, "fp32", 3, drawn=True)

    def draw(*seeds: int) -> list[str]:
        sampling = Sampling(1.0, 1.0, seeds)
        found = generate(write, tokenizer, ids, 16, [tokenizer.eos_token_id], sampling)
        return [generation.text for generation in in_order(found)]

    assert draw(1, 2, 3, 4) == draw(1, 2, 3, 4)
    assert draw(1, 2, 3, 4) != draw(5, 6, 7, 8)


def test_what_is_drawn_does_not_depend_on_the_neighbours(
    tokenizer: PreTrainedTokenizerBase, ids: list[list[int]], tiny_model: Path
) -> None:
    sampling = Sampling(1.0, 0.9, (1, 2, 3, 4))
    drawn = []
    for slots in (1, 4):
        _, write = open_engine("static", tiny_model, "fp32", slots, drawn=True)
        stops = [tokenizer.eos_token_id]
        drawn.append(in_order(generate(write, tokenizer, ids, 16, stops, sampling)))
    assert drawn[0] == drawn[1]

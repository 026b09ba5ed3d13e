from __future__ import annotations

from pathlib import Path

import pytest
import torch
from evaluate.writers import STOP, make_model, make_prompts
from families import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from wmss_cli.core.errors import ConfigError
from wmss_cli.evaluate import static
from wmss_cli.evaluate.plain import write_plain
from wmss_cli.evaluate.static import windows_of, write_static

MIXED = make_prompts([7, 1, 30, 2, 12, 1, 19, 4], shared=11)


@pytest.fixture(scope="module", params=["qwen3", "llama"])
def model(request: pytest.FixtureRequest, tiny_model: Path) -> PreTrainedModel:
    return make_model(request.param, tiny_model)


def check(
    model: PreTrainedModel,
    prompts: list[list[int]],
    slots: int,
    max_new_tokens: int = 12,
    stops: tuple[int, ...] = (STOP,),
) -> dict[int, list[int]]:
    """Compare with one prompt at a time, and return what was written."""
    written = list(write_static(model, prompts, max_new_tokens, stops, slots))
    assert len(written) == len(prompts)
    assert dict(written) == dict(write_plain(model, prompts, max_new_tokens, stops))
    return dict(written)


@pytest.mark.parametrize("slots", [1, 2, 3, 8, 100])
def test_writes_what_one_prompt_at_a_time_gives(model: PreTrainedModel, slots: int) -> None:
    check(model, MIXED, slots)


@pytest.mark.parametrize(
    "prompts",
    [
        pytest.param(make_prompts([3, 9, 1, 5]), id="nothing is shared"),
        pytest.param(make_prompts([1, 1, 1]), id="one token each"),
        pytest.param(make_prompts([1, 1, 1], shared=6), id="all but the last token is shared"),
        pytest.param(make_prompts([6]), id="one prompt"),
        pytest.param(make_prompts([6]) * 3, id="one prompt three times"),
        pytest.param([*MIXED, MIXED[0][:11]], id="a prompt begins all others"),
        pytest.param(make_prompts([250, 244, 3]), id="grows past a block of memory"),
    ],
)
def test_whatever_the_prompts_have_in_common(
    model: PreTrainedModel, prompts: list[list[int]]
) -> None:
    check(model, prompts, slots=2)


def test_an_answer_that_ends_gives_its_place_to_the_next_prompt(model: PreTrainedModel) -> None:
    free = check(model, MIXED, slots=3)
    # Tokens that end the answers at various lengths.
    stops = (STOP, free[0][2], free[3][5], free[6][0])
    lengths = {len(tokens) for tokens in check(model, MIXED, 3, stops=stops).values()}
    assert len(lengths) > 3


@pytest.mark.parametrize("limit", [1, 2])
def test_short_limits(model: PreTrainedModel, limit: int) -> None:
    check(model, MIXED, slots=3, max_new_tokens=limit)


def test_prompts_that_are_read_in_several_passes(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(static, "_PREFILL_TOKENS", 20)
    check(model, MIXED, slots=5)


def test_nothing_to_write(model: PreTrainedModel) -> None:
    assert list(write_static(model, [], 5, [STOP], 4)) == []


@settings(max_examples=15)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=7),
    shared=st.integers(0, 9),
    slots=st.integers(1, 8),
    limit=st.integers(1, 9),
    stops=st.sets(st.integers(0, 319), min_size=1, max_size=60),
)
def test_any_prompts_slots_and_stops(
    model: PreTrainedModel,
    lengths: list[int],
    shared: int,
    slots: int,
    limit: int,
    stops: set[int],
) -> None:
    check(model, make_prompts(lengths, shared), slots, limit, tuple(stops))


def test_the_head_sees_one_position_of_each_row(model: PreTrainedModel) -> None:
    seen: list[torch.Size] = []
    with model.get_output_embeddings().register_forward_pre_hook(
        lambda _head, inputs: seen.append(inputs[0].shape[:-1])
    ):
        list(write_static(model, MIXED, 4, [STOP], 100))
    assert set(seen) == {(len(MIXED), 1)}


@pytest.mark.parametrize("family", ["Mistral", "Gemma2", "Gemma3", "GptOss", "Cohere2", "Falcon"])
@pytest.mark.parametrize("slots", [3, 100])
def test_windows_caps_and_sinks_are_those_of_the_model(family: str, slots: int) -> None:
    check(tiny(family, vocab_size=320), MIXED, slots)


@pytest.mark.parametrize(
    "family", ["Qwen3_5Text", "Mamba", "Lfm2", "Llama4Text", "GPTNeo", "Bloom"]
)
def test_a_model_with_other_layers_is_refused(family: str) -> None:
    with pytest.raises(ConfigError, match="not all of its layers attend to all tokens or to a win"):
        list(write_static(tiny(family, vocab_size=320), MIXED, 4, [STOP], 2))


@pytest.mark.parametrize("rope_type", ["dynamic", "longrope"])
def test_a_model_whose_positions_depend_on_the_longest_answer_is_refused(rope_type: str) -> None:
    model = tiny("Qwen3", vocab_size=320)
    windows_of(model)
    model.config.rope_parameters = {"rope_type": rope_type, "rope_theta": 1e4, "factor": 4.0}
    with pytest.raises(ConfigError, match="how long the longest answer of a pass is"):
        windows_of(model)
    per_layer = {"full_attention": model.config.rope_parameters}
    model.config.rope_parameters = per_layer
    with pytest.raises(ConfigError, match="how long the longest answer of a pass is"):
        windows_of(model)

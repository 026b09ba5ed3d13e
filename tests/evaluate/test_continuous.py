from __future__ import annotations

from pathlib import Path

import pytest
from evaluate.writers import STOP, make_model, make_prompts
from families import tiny
from transformers import PreTrainedModel

from wmss_cli.core.errors import ConfigError
from wmss_cli.evaluate.continuous import (
    check_attention,
    continuous_refusal,
    flash_refusal,
    write_continuous,
)
from wmss_cli.evaluate.plain import write_plain

MIXED = make_prompts([7, 1, 30, 2, 12], shared=11)


@pytest.fixture(params=["qwen3", "llama"])
def model(request: pytest.FixtureRequest, tiny_model: Path) -> PreTrainedModel:
    return make_model(request.param, tiny_model)


@pytest.mark.slow
@pytest.mark.parametrize("slots", [None, 2])
def test_writes_what_one_prompt_at_a_time_gives(model: PreTrainedModel, slots: int | None) -> None:
    expected = dict(write_plain(model, MIXED, 12, [STOP]))
    # Tokens that end the answers at various lengths.
    stops = [STOP, expected[0][2], expected[3][5]]
    for stop_token_ids in ([STOP], stops):
        written = list(write_continuous(model, MIXED, 12, stop_token_ids, slots))
        assert len(written) == len(MIXED)
        assert dict(written) == dict(write_plain(model, MIXED, 12, stop_token_ids))


@pytest.mark.slow
def test_the_model_s_own_generation_settings_have_no_say(model: PreTrainedModel) -> None:
    before = sorted(write_continuous(model, MIXED, 8, [STOP]))
    own = model.generation_config
    own.update(do_sample=True, temperature=5.0, top_k=3, repetition_penalty=2.0)
    assert sorted(write_continuous(model, MIXED, 8, [STOP])) == before
    assert model.generation_config is own


def test_nothing_to_write(model: PreTrainedModel) -> None:
    assert list(write_continuous(model, [], 5, [STOP])) == []


def test_what_transformers_made_of_the_model_is_looked_at(model: PreTrainedModel) -> None:
    check_attention(model)
    model.to("meta")
    with pytest.raises(ConfigError, match="continuous: transformers uses attention sdpa; without"):
        check_attention(model)
    for flash in ("flash_attention_3", "kernels-community/flash-attn2"):
        model.config._attn_implementation_internal = flash
        check_attention(model)


def test_a_model_without_flash_attention_is_refused_on_other_devices_only(
    model: PreTrainedModel,
) -> None:
    model._supports_flash_attn = False
    assert continuous_refusal(model) is None
    model.to("meta")
    said = flash_refusal(model)
    assert said == f"transformers has no flash attention for {model.config.model_type}"
    model._supports_flash_attn = True
    assert flash_refusal(model) is None


@pytest.mark.parametrize("family", ["StableLm", "Nemotron", "Falcon", "GPTJ", "Mamba"])
def test_a_model_that_does_not_keep_requests_apart_is_refused(family: str) -> None:
    model = tiny(family)
    own = model.config._attn_implementation
    assert "does not keep requests apart" in str(continuous_refusal(model))
    assert model.config._attn_implementation == own, "the model is as it was"

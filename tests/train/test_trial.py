"""What auto becomes: by arithmetic for a GPU of that many bytes, then by what a pass took."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from wmss_cli.core.config import JointConfig
from wmss_cli.core.recomputation import every
from wmss_cli.models.packed import PackedBatch
from wmss_cli.models.shape import ModelShape
from wmss_cli.train import trial
from wmss_cli.train.fitting import fitted, trained_by
from wmss_cli.train.loop import MicroBatch
from wmss_cli.train.memory import largest_trial, memory
from wmss_cli.train.pair import WeakStrongPair

SIZES: dict[str, Any] = {
    "model_type": "qwen3",
    "num_hidden_layers": 36,
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "tie_word_embeddings": False,
}
SHAPE = ModelShape.of_config(SIZES)
GPU = 72 * 10**9
MANY = 10**7
AUTO = JointConfig(zero_stage=3, micro_batch_tokens="auto", gradient_checkpointing="auto")
TRAINED = trained_by(AUTO, SHAPE, SHAPE, weak_frozen=False, bf16=True)


def fit(config: JointConfig, usable: int = GPU, step_tokens: int = MANY) -> JointConfig:
    return fitted(config, TRAINED, 8, usable, 3000, step_tokens)


def test_the_longest_pass_that_fits_is_taken_and_no_number_that_was_given_changes() -> None:
    found = fit(AUTO)
    tokens = found.pass_tokens
    assert tokens % 1024 == 0
    assert memory(TRAINED, 3, 8, tokens).peak <= GPU < memory(TRAINED, 3, 8, tokens + 1024).peak
    assert found.gradient_checkpointing == "full"
    given = JointConfig(zero_stage=3, micro_batch_tokens=5000, gradient_checkpointing="auto")
    assert fit(given).micro_batch_tokens == 5000
    assert fit(AUTO, usable=1000 * 10**9).pass_tokens == 65_536
    assert fit(AUTO, usable=10**9).pass_tokens == 3000, "the longest sample makes a pass anyway"


def test_a_pass_is_no_longer_than_a_gpus_part_of_a_step() -> None:
    found = fit(AUTO, step_tokens=8 * 5000)
    assert found.pass_tokens == 8 * 1024
    n = every(found.gradient_checkpointing)
    assert memory(replace(TRAINED, checkpointing=n), 3, 8, found.pass_tokens).peak <= GPU


class Feed:
    """Remembers how long a pass was asked for."""

    longest_sample = 12
    step_tokens = 24

    def __init__(self) -> None:
        self.asked: list[int] = []

    def longest_pass(self, tokens: int) -> MicroBatch:
        self.asked.append(tokens)
        places = torch.arange(12)
        return MicroBatch(PackedBatch(places, places, (12,), places[:-1], places[1:]), [])


@pytest.fixture
def pair() -> WeakStrongPair:
    small = SIZES | {"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64}
    config = Qwen3Config(**small | {"vocab_size": 50, "pad_token_id": 0})
    return WeakStrongPair(Qwen3ForCausalLM(config), Qwen3ForCausalLM(config), 0.5)


def test_a_trial_leaves_weights_and_gradients_as_they_were(pair: WeakStrongPair) -> None:
    before = [parameter.detach().clone() for parameter in pair.parameters()]
    assert trial.pass_bytes(pair, Feed().longest_pass(12)) == 0, "a CPU counts nothing"
    assert all(map(torch.equal, before, pair.parameters()))
    assert all(parameter.grad is None for parameter in pair.parameters())
    assert not pair.strong.get_input_embeddings()._forward_hooks


@pytest.mark.parametrize(("more", "fits"), [(0, True), (10**9, False)])
def test_what_a_pass_took_is_weighed_with_what_a_step_holds(
    pair: WeakStrongPair, monkeypatch: pytest.MonkeyPatch, more: int, fits: bool
) -> None:
    config = fit(AUTO)
    held = memory(TRAINED, 3, 8, config.pass_tokens)
    room = GPU - held.state
    beside = largest_trial(TRAINED, GPU, config.pass_tokens)
    took = room * beside // config.pass_tokens + more
    monkeypatch.setattr(trial, "pass_bytes", lambda *_: took)
    feed = Feed()
    assert trial.fits(config, pair, feed, 8, TRAINED, GPU) == fits
    # Not even that may be whole beside two models of 8B that are whole.
    assert feed.asked == [beside]
    assert 8192 < beside <= config.pass_tokens

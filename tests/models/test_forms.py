"""How every family reads documents: packed or a row each, with its own logits and gradients."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from families import PACKED, ROWS, VOCAB, tiny
from torch.nn import functional as F
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertGenerationConfig,
    LlamaConfig,
    LlamaModel,
    PreTrainedModel,
    XLNetConfig,
)

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.forms import choose_form
from wmss_cli.models.heads import head_of
from wmss_cli.models.packed import PackedBatch, hidden_states, packs
from wmss_cli.train.objectives.mixed import mixed_cross_entropy

LENGTHS = (5, 1, 9)


def documents() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(3, VOCAB, (length,), generator=generator) for length in LENGTHS]


def pack(rows: list[torch.Tensor]) -> PackedBatch:
    """Put documents together; each position but a document's last predicts the next token."""
    ids = torch.cat(rows)
    positions = torch.cat([torch.arange(len(row)) for row in rows])
    predicting = torch.nonzero(positions)[:, 0] - 1
    return PackedBatch(ids, positions, tuple(map(len, rows)), predicting, ids[predicting + 1])


def plain_loss(model: PreTrainedModel, softened: float) -> torch.Tensor:
    """Return the loss of all documents, each through the model's own forward pass."""
    losses = [
        F.cross_entropy(
            softened * cast(Any, model)(input_ids=row[None]).logits[0, :-1],
            row[1:],
            reduction="sum",
        )
        for row in documents()
        if len(row) > 1
    ]
    return torch.stack(losses).sum()


def gradients(model: PreTrainedModel, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", [*PACKED, *ROWS])
def test_loss_and_gradients_are_those_of_each_document_alone(name: str) -> None:
    model = tiny(name)
    model.set_attn_implementation("eager")
    expected = plain_loss(model, softened=0.5)
    wanted = gradients(model, expected)
    assert choose_form(model) == ("packed" if name in PACKED else "rows")
    assert packs(model) == (name in PACKED)
    batch = pack(documents())
    loss = mixed_cross_entropy(
        hidden_states(model, batch), head_of(model), batch.targets, mix_lambda=0.5
    )
    assert float(loss.total) == pytest.approx(float(expected), rel=1e-4)
    found = gradients(model, loss.total)
    for key, gradient in wanted.items():
        scale = float(gradient.abs().max())
        same = found.get(key, torch.zeros_like(gradient))
        torch.testing.assert_close(same, gradient, rtol=1e-3, atol=1e-3 * scale + 1e-6)


@pytest.mark.parametrize("name", [*PACKED, *ROWS])
def test_a_changed_token_changes_its_own_document_alone(name: str) -> None:
    model = tiny(name)
    choose_form(model)
    rows = documents()
    before = hidden_states(model, pack(rows))
    rows[0][0] = rows[0][0] % (VOCAB - 4) + 4
    changed = (hidden_states(model, pack(rows)) - before).abs().amax(dim=1)
    assert (changed[:4] > 1e-4).all()
    # Experts work on all tokens together, and round otherwise.
    assert (changed[4:] < 1e-5).all()


@pytest.mark.parametrize("name", ["Llama", "Qwen3_5", "Mamba"])
def test_only_what_predicts_is_returned(name: str) -> None:
    model = tiny(name)
    choose_form(model)
    batch = pack(documents())
    wanted = torch.tensor([2, 7, 3])
    some = PackedBatch(batch.input_ids, batch.position_ids, LENGTHS, wanted, batch.targets[:3])
    places = [int((batch.predicting == place).nonzero()) for place in wanted]
    torch.testing.assert_close(hidden_states(model, some), hidden_states(model, batch)[places])


def test_the_log_says_which_models_read_rows_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    choose_form(tiny("Llama"))
    assert capsys.readouterr().out == ""
    choose_form(tiny("Qwen3_5Text"))
    said = capsys.readouterr().out
    assert said.startswith("qwen3_5_text: samples cannot be packed (")
    assert "causal_conv1d" in said
    assert "each is a row of its own, padded to the longest of its pass" in said
    choose_form(tiny("StableLm"))
    assert "(its attention is not told where documents end)" in capsys.readouterr().out


@pytest.mark.parametrize("told", [True, False])
def test_windows_that_attention_is_not_told_are_found(told: bool) -> None:
    """A window is longer than any document of the proof, unless it is cut short for it."""
    model = tiny("Olmo3")
    model.config.sliding_window = 4096
    # Without it, as in an architecture that cuts its attention by the mask alone.
    model.model.layers[0].self_attn.sliding_window = 4096 if told else None
    assert choose_form(model) == ("packed" if told else "rows")
    assert model.config.sliding_window == 4096, "the model is as it was"


SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (BertConfig(**SIZES), "bert: a token's logits depend on what comes after it"),
        (BertGenerationConfig(**SIZES), "bert-generation: a token's logits depend on what comes"),
        (
            XLNetConfig(vocab_size=VOCAB, d_model=16, n_layer=2, n_head=4, d_inner=32),
            "xlnet: a token's logits depend on what comes after it",
        ),
    ],
    ids=["bert", "bert-generation", "xlnet"],
)
def test_what_is_no_causal_language_model_is_refused(config: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        choose_form(AutoModelForCausalLM.from_config(config))


def test_a_model_without_a_head_is_refused() -> None:
    config = LlamaConfig(**SIZES)
    with pytest.raises(ConfigError, match="llama: this model has no language-model head"):
        choose_form(LlamaModel(config))


def test_weights_that_are_not_finite_are_said_to_be_so() -> None:
    model = tiny("Qwen3")
    with torch.no_grad():
        model.model.norm.weight[3] = float("nan")
    with pytest.raises(ConfigError, match=r"1 weights .* not finite \(model\.norm\.weight\)"):
        choose_form(model)


@pytest.mark.parametrize(
    ("name", "scale", "cap", "biased"),
    [
        ("Llama", 1.0, None, False),
        ("Gemma2", 1.0, 0.5, False),
        ("Granite", 0.25, None, False),
        # It multiplies by what Granite divides by.
        ("HyperCLOVAX", 4.0, None, False),
        ("Cohere", 0.25, None, False),
        ("FalconH1", 0.5, None, False),
        ("Phi", 1.0, None, True),
    ],
)
def test_caps_scales_and_biases_are_found(
    name: str, scale: float, cap: float | None, biased: bool
) -> None:
    model = tiny(name)
    choose_form(model)
    head = head_of(model)
    assert (head.scale, head.cap, head.bias is not None) == (scale, cap, biased)

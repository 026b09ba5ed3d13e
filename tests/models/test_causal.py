"""A causal model that transformers loads: saved and loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import make_tiny_model
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedConfig,
    Qwen3Config,
)

from wmss_cli.core.errors import ConfigError, IntegrityError
from wmss_cli.models.causal import load_model, load_packed, save_model
from wmss_cli.models.matching import check_stored
from wmss_cli.models.tokenizer import load_tokenizer


def test_saved_weights_load_with_transformers_alone(tmp_path: Path) -> None:
    source = make_tiny_model(tmp_path / "source")
    model, tokenizer = load_model(source, "fp32"), load_tokenizer(source)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    save_model(model, weights, tokenizer, [3, 5], tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", dtype="auto")
    for name, parameter in again.named_parameters():
        assert torch.equal(parameter, weights[name]), name
    assert again.lm_head.weight is again.model.embed_tokens.weight
    assert again.generation_config.eos_token_id == [3, 5]


def test_precision_sets_the_data_type(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "model")
    assert load_model(folder, "bf16").dtype == torch.bfloat16
    assert load_model(folder, "fp32").dtype == torch.float32


# Weights that do not match.

Weights = dict[str, torch.Tensor]


def change(folder: Path, edit: Callable[[Weights], Weights], **config: object) -> Path:
    """Edit the weights of a saved model, and values of its config.json."""
    file = folder / "model.safetensors"
    edited = {name: w.contiguous() for name, w in edit(load_file(file)).items()}
    save_file(edited, file, {"format": "pt"})
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


def prefixed(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {prefix + name: weight for name, weight in weights.items()}


def without(part: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name: w for name, w in weights.items() if part not in name}


def same(weights: Weights) -> Weights:
    return weights


def layers(count: int) -> dict[str, object]:
    return {"num_hidden_layers": count, "layer_types": ["full_attention"] * count}


@pytest.mark.parametrize(
    ("edit", "config", "line"),
    [
        (
            prefixed("base_model.model."),
            {},
            r"25 unexpected .*keys begin with base_model\.model\.: merge the PEFT adapter first",
        ),
        (prefixed("module."), {}, r"keys begin with module\.: save the model without the wrapper"),
        (prefixed("_orig_mod."), {}, r"keys begin with _orig_mod\.: save the model that torch"),
        (without("layers.1."), {}, r"11 missing \(model\.layers\.1\.input_layernorm\.weight, "),
        (without("lm_head"), {}, r"1 missing \(lm_head\.weight\); copy the head too, or set tie"),
        (without("model.norm"), {}, r"1 missing \(model\.norm\.weight\); take config\.json and"),
        (same, layers(3), r"11 missing \(model\.layers\.2\.input_layernorm\.weight, "),
        (same, layers(1), r"11 unexpected \(model\.layers\.1\.input_layernorm\.weight, "),
        (
            same,
            {"vocab_size": 330},
            r"2 of another shape \(lm_head\.weight: \[320, 32\] in the files, \[330, 32\] by conf",
        ),
        (same, {"hidden_size": 48}, r"of another shape \(lm_head\.weight: \[320, 32\] in the fil"),
    ],
)
def test_weights_that_do_not_match_are_refused_and_never_random(
    tmp_path: Path, edit: Callable[[Weights], Weights], config: dict[str, object], line: str
) -> None:
    folder = change(make_tiny_model(tmp_path / "model", tie=False), edit, **config)
    # By loading, and by the headers alone for an engine that loads by itself.
    for refuse in (lambda: load_model(folder, "fp32"), lambda: check_stored(folder)):
        with pytest.raises(ConfigError, match=line) as caught:
            refuse()
        assert str(caught.value).startswith(f"{folder}: weights do not match config.json: ")
        assert "\n" not in str(caught.value)


def test_a_configuration_that_does_not_fit_itself_is_said_to(tmp_path: Path) -> None:
    folder = change(make_tiny_model(tmp_path / "model"), same, num_hidden_layers=3)
    line = (
        r"\(config\.json: .*`num_hidden_layers` \(3\) must be equal to the number of `layer_types`"
    )
    for refuse in (lambda: load_model(folder, "fp32"), lambda: load_tokenizer(folder)):
        with pytest.raises(ConfigError, match=line):
            refuse()


def test_a_prefix_that_transformers_takes_off_is_not_refused_nor_random(tmp_path: Path) -> None:
    wanted = load_model(make_tiny_model(tmp_path / "plain"), "fp32").state_dict()
    folder = change(make_tiny_model(tmp_path / "model"), prefixed("model."))
    found = load_model(folder, "fp32").state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in wanted.items())


@pytest.mark.parametrize("with_head", [False, True])
def test_a_tied_model_loads_with_or_without_its_head(tmp_path: Path, with_head: bool) -> None:
    def add_head(weights: Weights) -> Weights:
        head = {"lm_head.weight": weights["model.embed_tokens.weight"].clone()}
        return without("lm_head")(weights) | (head if with_head else {})

    folder = change(make_tiny_model(tmp_path / "model"), add_head)
    model = load_model(folder, "fp32")
    assert torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)
    check_stored(folder)


def test_a_head_that_is_tied_only_in_the_configuration_is_refused(tmp_path: Path) -> None:
    def other_head(weights: Weights) -> Weights:
        return weights | {"lm_head.weight": 1.5 * weights["model.embed_tokens.weight"]}

    folder = change(make_tiny_model(tmp_path / "model"), other_head)
    for refuse in (lambda: load_model(folder, "fp32"), lambda: check_stored(folder)):
        with pytest.raises(ConfigError, match=r"ties the head .*set tie_word_embeddings to false"):
            refuse()


def test_buffers_that_older_checkpoints_carry_are_not_refused(tmp_path: Path) -> None:
    def rotary(weights: Weights) -> Weights:
        name = "model.layers.{}.self_attn.rotary_emb.inv_freq"
        return weights | {name.format(layer): torch.ones(8) for layer in range(2)}

    load_model(change(make_tiny_model(tmp_path / "qwen"), rotary), "fp32")

    def masks(weights: Weights) -> Weights:
        names = [f"transformer.h.{layer}.attn.{n}" for layer in (0, 1) for n in ("bias", "masked")]
        names = [n.replace("masked", "masked_bias") for n in names]
        return weights | {name: torch.ones(1) for name in names}

    sizes = GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=2)
    GPT2LMHeadModel(sizes).save_pretrained(tmp_path / "gpt2")
    folder = change(tmp_path / "gpt2", masks)
    load_model(folder, "fp32")
    check_stored(folder)


def sharded(folder: Path) -> list[Path]:
    """Cut a saved model into several files, and return them."""
    load_model(folder, "fp32").save_pretrained(folder, max_shard_size="40KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    return sorted(folder.glob("model-*.safetensors"))


def test_a_model_in_several_files_loads_and_a_missing_one_is_named(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "model")
    wanted = load_model(folder, "fp32").state_dict()
    files = sharded(folder)
    assert len(files) > 2
    found = load_model(folder, "fp32").state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in wanted.items())
    files[1].unlink()
    with pytest.raises(ConfigError, match=rf"{files[1].name}: 1 of {len(files)} weight files tha"):
        load_model(folder, "fp32")


@pytest.mark.parametrize("kept", [0, 5, 100, 0.5, 0.999])
def test_a_cut_file_is_named(tmp_path: Path, kept: float) -> None:
    file = make_tiny_model(tmp_path / "model") / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(kept if kept >= 1 else kept * len(whole))])
    with pytest.raises(IntegrityError, match=r"model\.safetensors: cut or damaged") as caught:
        load_model(tmp_path / "model", "fp32")
    assert "\n" not in str(caught.value)


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    file = make_tiny_model(tmp_path / "model") / "model.safetensors"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(ConfigError, match=r"model\.safetensors: a pointer of git-lfs, .*git lfs p"):
        load_model(tmp_path / "model", "fp32")


# Other architectures and formats.

SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(
    "config",
    [
        Qwen3Config(**SMALL, num_key_value_heads=2, head_dim=8),
        LlamaConfig(**SMALL, tie_word_embeddings=True),
        MistralConfig(**SMALL, num_key_value_heads=2),
        GemmaConfig(**SMALL, num_key_value_heads=1, head_dim=8),
        Gemma3TextConfig(**SMALL, head_dim=8),
        GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4),
        OPTConfig(**SMALL, ffn_dim=48, word_embed_proj_dim=32, max_position_embeddings=64),
        PhiConfig(**SMALL),
        GPTNeoXConfig(**SMALL, max_position_embeddings=64),
    ],
    ids=lambda config: config.model_type if isinstance(config, PreTrainedConfig) else None,
)
def test_what_transformers_saves_is_not_refused(
    tmp_path: Path, config: PreTrainedConfig, binary: bool
) -> None:
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path)
    if binary:
        file = tmp_path / "model.safetensors"
        torch.save(load_file(file), tmp_path / "pytorch_model.bin")
        file.unlink()
    check_stored(tmp_path)
    found = load_packed(tmp_path, "fp32").state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in model.state_dict().items())


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model_type": "t5"}, "t5|T5Config"),
        ({"model_type": "unheard_of"}, "unheard_of"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "GPTQ"),
        # The model's own code: neither run nor asked about.
        (
            {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}},
            "contains custom code",
        ),
    ],
)
def test_what_transformers_cannot_load_is_said_in_a_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], config: dict[str, object], reason: str
) -> None:
    folder = change(make_tiny_model(tmp_path / "model"), same, **config)
    (folder / "own.py").write_text("raise SystemExit('ran')\n")
    for refuse in (lambda: load_model(folder, "fp32"), lambda: check_stored(folder)):
        with pytest.raises(
            ConfigError, match=f"transformers cannot load it .*({reason})"
        ) as caught:
            refuse()
        assert "\n" not in str(caught.value)
    assert "y/N" not in capfd.readouterr().out


def test_a_damaged_file_of_torch_is_refused(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"junk")
    with pytest.raises(ConfigError, match="transformers cannot load it"):
        load_model(folder, "fp32")


def test_quantised_weights_cannot_be_trained(tmp_path: Path) -> None:
    # transformers ignores a way of quantising that it does not know.
    config = {"quantization_config": {"quant_method": "unheard_of"}}
    folder = change(make_tiny_model(tmp_path / "model"), same, **config)
    with pytest.raises(ConfigError, match=r"model: its weights are quantised \(unheard_of\)"):
        load_packed(folder, "fp32")

"""What is found of a model before it is loaded, without torch: files that do not fit each other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import families
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import END, make_tiny_model, make_tiny_tokenizer
from tokenizers import AddedToken
from transformers import AutoConfig

from wmss_cli.core.errors import ConfigError, IntegrityError
from wmss_cli.models.consistency import check_apart, check_length, examine
from wmss_cli.models.context import DEFAULTS, context_of
from wmss_cli.models.stops import declared_stops

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, free to be changed."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def write(file: Path, **values: Any) -> None:
    """Change values of a JSON file, which may not be there."""
    before = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(before | values))


def refusal(folder: Path, kind: type[Exception] = ConfigError) -> str:
    with pytest.raises(kind) as caught:
        examine(folder)
    line = str(caught.value)
    assert line.startswith(str(folder))
    assert "\n" not in line
    return line


# Weights.


@pytest.mark.parametrize("name", [*families.PACKED, *families.ROWS])
def test_what_transformers_saves_is_not_refused(tmp_path: Path, name: str) -> None:
    families.make_family(tmp_path, name)
    facts = examine(tmp_path)
    assert facts.rows == len(make_tiny_tokenizer()) + 32


Weights = dict[str, torch.Tensor]


def change_weights(folder: Path, edit: Callable[[Weights], Weights]) -> None:
    file = folder / "model.safetensors"
    save_file({n: w.contiguous() for n, w in edit(load_file(file)).items()}, file, {"format": "pt"})


@pytest.mark.parametrize("name", ["Llama", "Qwen2", "Gemma2", "GPT2", "Phi", "Olmo2", "GPTNeoX"])
@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("peft", "unexpected .*merge the PEFT adapter first"),
        ("lora", "unexpected .*merge the PEFT adapter first"),
        ("compiled", "unexpected .*torch.compile wraps"),
        ("no layer", "missing"),
        ("no weight", "1 missing"),
        ("one layer more", "missing"),
        ("one layer less", "unexpected"),
        ("rows", "of another shape .*in the files"),
    ],
)
def test_weights_of_another_model_are_refused(
    tmp_path: Path, name: str, kind: str, line: str
) -> None:
    families.make_family(tmp_path, name)
    change_weights(tmp_path, lambda weights: _spoilt(weights, kind))
    config = tmp_path / "config.json"
    said = json.loads(config.read_text())
    key = "n_layer" if "n_layer" in said else "num_hidden_layers"
    layers = {"one layer more": 3, "one layer less": 1}.get(kind, 2)
    kinds = {"layer_types": (said["layer_types"] * 2)[:layers]} if said.get("layer_types") else {}
    write(config, **{key: layers}, **kinds)
    if kind == "rows":
        write(config, vocab_size=said["vocab_size"] + 64)
    assert _matches(line, refusal(tmp_path))


def _matches(pattern: str, line: str) -> bool:
    import re

    return re.search(f"weights do not match config.json: .*{pattern}", line) is not None


def _spoilt(weights: Weights, kind: str) -> Weights:
    last = [name for name in weights if ".1." in name]
    if kind == "peft":
        return {f"base_model.model.{name}": weight for name, weight in weights.items()}
    if kind == "lora":
        return weights | {f"{last[0]}.lora_A.default": torch.zeros(2)}
    if kind == "compiled":
        return {f"_orig_mod.{name}": weight for name, weight in weights.items()}
    if kind == "no layer":
        return {name: weight for name, weight in weights.items() if ".1." not in name}
    if kind == "no weight":
        return {name: weight for name, weight in weights.items() if name != last[0]}
    return weights


def test_a_head_that_does_not_exist_is_missed(tmp_path: Path) -> None:
    make_tiny_model(tmp_path, tie=False)
    change_weights(tmp_path, lambda w: {n: t for n, t in w.items() if n != "lm_head.weight"})
    assert "1 missing (lm_head.weight); copy the head too" in refusal(tmp_path)


# Files.


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_pointer_of_git_lfs_is_named_whatever_it_stands_for(folder: Path, name: str) -> None:
    (folder / name).write_text(LFS)
    assert f"{name}: a pointer of git-lfs, not the file itself; run 'git lfs pull'" in refusal(
        folder
    )


def test_a_pointer_to_what_is_not_read_does_no_harm(folder: Path) -> None:
    # A clone without git-lfs has them of pictures, too.
    (folder / "figure.png").write_text(LFS)
    (folder / "consolidated.safetensors").write_text(LFS)
    examine(folder)
    file = folder / "model.safetensors"
    file.rename(folder / "pytorch_model.bin")
    (folder / "pytorch_model.bin").write_text(LFS)
    assert "pytorch_model.bin: a pointer of git-lfs" in refusal(folder)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_cut_file_of_weights_is_named(folder: Path, keep: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    assert "model.safetensors: cut or damaged" in refusal(folder, IntegrityError)


@pytest.mark.parametrize("keep", [0, 4, -1])
def test_a_cut_file_of_torch_is_named(folder: Path, keep: int) -> None:
    file = folder / "model.safetensors"
    torch.save(load_file(file), folder / "pytorch_model.bin")
    file.unlink()
    assert examine(folder).parameters == 0
    whole = (folder / "pytorch_model.bin").read_bytes()
    (folder / "pytorch_model.bin").write_bytes(whole[:keep])
    assert "pytorch_model.bin: cut or damaged" in refusal(folder, IntegrityError)


@pytest.mark.parametrize("form", ["model.safetensors", "pytorch_model.bin"])
def test_an_index_of_files_that_do_not_exist_is_refused(folder: Path, form: str) -> None:
    (folder / "model.safetensors").unlink()
    stem, _, end = form.partition(".")
    listed = {"a": f"{stem}-00001-of-00002.{end}", "b": f"{stem}-00002-of-00002.{end}"}
    (folder / f"{form}.index.json").write_text(json.dumps({"weight_map": listed}))
    assert "2 of 2 weight files that" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("adapter_model.safetensors", "merge the PEFT adapter"),
        ("consolidated.safetensors", "save the model by save_pretrained"),
    ],
)
def test_weights_under_another_name_are_refused(folder: Path, name: str, advice: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    assert f"no model.safetensors and no model.safetensors.index.json, only {name}" in refusal(
        folder
    )
    assert advice in refusal(folder)


# Tokens.


def save_tokenizer(folder: Path, *tokens: AddedToken | str, **named: str) -> None:
    tokenizer = make_tiny_tokenizer()
    tokenizer.add_tokens(list(tokens))
    tokenizer.add_special_tokens(dict(named))
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize(
    ("tokens", "named", "what"),
    [
        (
            ("<note>",),
            {},
            "1 tokens beyond the 320 rows of the embedding, such as '<note>', id 320",
        ),
        ((), {"pad_token": "[PAD]"}, r"such as '[PAD]' (pad_token), id 320"),
        ((), {"eos_token": "</s>"}, "'</s>' (eos_token)"),
    ],
)
def test_tokens_beyond_the_embedding_are_refused(
    folder: Path, tokens: tuple[str, ...], named: dict[str, str], what: str
) -> None:
    save_tokenizer(folder, *tokens, **named)
    line = refusal(folder)
    assert what in line
    assert "resize_token_embeddings(len(tokenizer))" in line


def test_a_special_token_that_nothing_writes_may_be_beyond(folder: Path) -> None:
    # As Gemma 3's for pictures, in its models for text alone.
    save_tokenizer(folder, AddedToken("<image>", special=True))
    assert examine(folder).rows == 320


def test_a_tokenizer_of_another_larger_model_is_refused(tmp_path: Path) -> None:
    make_tiny_model(tmp_path, vocab_size=300)
    make_tiny_tokenizer(320).save_pretrained(tmp_path)
    assert "20 tokens beyond the 300 rows" in refusal(tmp_path)


# Where answers end.


def test_the_model_s_own_stops_are_read(folder: Path) -> None:
    write(folder / "generation_config.json", eos_token_id=[5, 7, 5])
    assert declared_stops(folder).heeded([]) == [5, 7]
    write(folder / "generation_config.json", eos_token_id=None)
    write(folder / "config.json", eos_token_id=[3, 4])
    assert declared_stops(folder).heeded([]) == [3, 4]
    (folder / "generation_config.json").unlink()
    assert declared_stops(folder).heeded([]) == [3, 4]


def test_a_stop_of_the_model_s_type_counts_where_it_is_a_token_of_its_own(folder: Path) -> None:
    write(folder / "generation_config.json", _from_model_config=True, eos_token_id=2)
    stops = declared_stops(folder)
    assert (stops.heeded([0, 2]), stops.heeded([0]), stops.ignored([0])) == ([2], [], [2])
    assert examine(folder).ignored_stops == [2]
    (folder / "generation_config.json").write_text('{"eos_token_id": 2}')
    assert declared_stops(folder).heeded([0]) == [2]


def test_a_stop_that_cannot_be_written_is_refused(folder: Path) -> None:
    (folder / "generation_config.json").write_text('{"eos_token_id": [0, 151645]}')
    assert "eos_token_id 151645 is beyond the 320 rows" in refusal(folder)
    (folder / "generation_config.json").write_text('{"eos_token_id": "<|end|>"}')
    assert "eos_token_id is '<|end|>', expected ids" in refusal(folder)


# Length.


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({"max_position_embeddings": 4096}, 4096),
        ({"n_positions": 1024}, 1024),
        ({"model_type": "gpt2"}, 1024),
        ({"text_config": {"max_position_embeddings": 131072}}, 131072),
        ({"max_position_embeddings": 2048, "model_type": "falcon", "alibi": True}, None),
        ({"model_type": "mamba"}, None),
        ({"model_type": "bloom", "seq_length": 2048}, None),
    ],
)
def test_the_context_is_read(config: dict[str, Any], tokens: int | None) -> None:
    found = context_of(config)
    assert (found and found.tokens) == tokens


@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
@pytest.mark.parametrize(
    ("scaling", "tokens"),
    [
        # Qwen 2.5: said of the model before it was stretched.
        ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, 131072),
        ({"rope_type": "linear", "factor": 2.0}, 65536),
        ({"rope_type": "dynamic", "factor": 2.0}, 65536),
        # Llama 3.1 and Phi-3 say what it is after.
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}, 32768),
        ({"type": "longrope", "factor": 32.0, "original_max_position_embeddings": 4096}, 32768),
        # gpt-oss says both.
        ({"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 4096}, 32768),
        ({"rope_type": "default"}, 32768),
        ({"full_attention": {"rope_type": "yarn", "factor": 2.0}}, 65536),
    ],
)
def test_a_stretched_context_is_the_stretched_one(
    key: str, scaling: dict[str, Any], tokens: int
) -> None:
    found = context_of({"max_position_embeddings": 32768, key: scaling})
    assert found is not None
    assert found.tokens == tokens


@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
@pytest.mark.parametrize(
    ("scaling", "apart"),
    [
        ({"rope_type": "longrope", "original_max_position_embeddings": 4096}, 4096),
        ({"type": "longrope"}, 2048),
        ({"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 9}, 2048),
        (
            {
                "sliding_attention": {"rope_type": "default"},
                "full_attention": {"rope_type": "dynamic"},
            },
            2048,
        ),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}, None),
        ({"rope_type": "llama3", "factor": 8.0}, None),
    ],
)
def test_samples_that_would_depend_on_each_other_are_refused(
    tmp_path: Path, key: str, scaling: dict[str, Any], apart: int | None
) -> None:
    config = {"max_position_embeddings": 8192, "original_max_position_embeddings": 2048}
    if "dynamic" in str(scaling):
        config = {"max_position_embeddings": 2048}
    context = context_of(config | {key: scaling})
    assert context is not None
    assert context.apart == apart
    check_apart(tmp_path, context, apart or 10**9, "")
    if apart is not None:
        with pytest.raises(ConfigError, match=f"beyond {apart:,} tokens the longest sample of a"):
            check_apart(tmp_path, context, apart + 1, "there is one")


@pytest.mark.parametrize("kind", DEFAULTS)
def test_a_silent_config_means_what_transformers_takes(kind: str) -> None:
    default = AutoConfig.for_model(kind)
    found = context_of({"model_type": kind})
    assert found is not None
    names = ("max_position_embeddings", "n_positions")
    assert found.tokens in [getattr(default, name, None) for name in names]


def test_a_text_that_is_too_long_is_refused(tmp_path: Path) -> None:
    context = context_of({"max_position_embeddings": 4096})
    check_length(tmp_path, context, 4096, "")
    check_length(tmp_path, None, 10**9, "")
    with pytest.raises(ConfigError, match=r"made for 4,096 tokens \(max_position_embeddings in c"):
        check_length(tmp_path, context, 4097, "a sample has 4,097")


def test_the_end_of_the_tiny_tokenizer_is_its_own_token(folder: Path) -> None:
    facts = examine(folder)
    assert facts.vocabulary is not None
    assert facts.vocabulary.get_vocab()[END] in facts.stops.heeded([0])
    assert facts.ignored_stops == []

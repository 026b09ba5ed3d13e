from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny import END, make_tiny_model, make_tiny_tokenizer
from tokenizers import normalizers, processors

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.template import PLAIN_TEMPLATE
from wmss_cli.models.tokenizer import (
    check_same_vocabulary,
    load_tokenizer,
    tokenizer_fingerprint,
)


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, free to be changed; its weights cannot be loaded."""
    shutil.copytree(tiny_model, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"no weights")
    return tmp_path / "model"


def test_a_tokenizer_without_a_template_gets_the_plain_one_and_keeps_it(
    folder: Path, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(folder)
    assert tokenizer.chat_template == PLAIN_TEMPLATE
    tokenizer.save_pretrained(tmp_path / "again")
    assert load_tokenizer(tmp_path / "again").chat_template == PLAIN_TEMPLATE


def test_a_template_of_its_own_is_left_alone(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert load_tokenizer(folder).chat_template == "{{ messages[0].content }}"


def test_the_plain_template_begins_like_the_tokenizer_does(tmp_path: Path) -> None:
    tokenizer = make_tiny_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    tokenizer.save_pretrained(tmp_path / "unused")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    tokenizer.save_pretrained(tmp_path / "used")

    def begin(folder: str) -> str:
        messages = [{"role": "user", "content": "Hi"}]
        return load_tokenizer(tmp_path / folder).apply_chat_template(messages, tokenize=False)

    assert begin("unused") == "User: Hi\n\n"
    assert begin("used") == "<s>User: Hi\n\n"


def test_without_a_padding_token_it_pads_with_the_end(tmp_path: Path) -> None:
    tokenizer = make_tiny_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path).pad_token == END


def test_without_an_end_it_is_refused(tmp_path: Path) -> None:
    tokenizer = make_tiny_tokenizer()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="no eos_token; set one"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["{", "{}", '{"added_tokens": []}'])
def test_a_broken_file_is_one_line(folder: Path, content: str) -> None:
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(ConfigError, match="model: no tokenizer that loads") as caught:
        load_tokenizer(folder)
    assert "\n" not in str(caught.value)


def test_a_model_whose_tokenizer_was_forgotten_is_refused(folder: Path) -> None:
    # transformers knows the type from config.json and makes one that holds nothing.
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ConfigError, match="the tokenizer is empty; copy its files"):
        load_tokenizer(folder)


def test_the_fingerprint_does_not_depend_on_use_or_template(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    before = tokenizer_fingerprint(tokenizer)
    tokenizer(["a", "a longer text"], padding=True, truncation=True, max_length=3)
    tokenizer.chat_template = "{{ messages[0].content }}"
    assert tokenizer_fingerprint(tokenizer) == before


def test_checkpoints_of_one_model_belong_together(tiny_model: Path, folder: Path) -> None:
    check_same_vocabulary(tiny_model, folder)


def test_vocabularies_of_different_size_are_refused(folder: Path, tmp_path: Path) -> None:
    small = make_tiny_model(tmp_path / "small", vocab_size=300)
    with pytest.raises(ConfigError, match=r"small has 300 logits and strong .*model has 320"):
        check_same_vocabulary(small, folder)


def test_a_different_head_is_seen_even_if_the_tokenizers_agree(
    tiny_model: Path, folder: Path
) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 384}))
    with pytest.raises(ConfigError, match=r"has 320 logits .* has 384"):
        check_same_vocabulary(tiny_model, folder)


def test_tokenizers_that_differ_are_refused_before_any_weights_load(
    tiny_model: Path, folder: Path
) -> None:
    tokenizer = load_tokenizer(folder)
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.save_pretrained(folder)
    with pytest.raises(ConfigError, match="have different tokenizers") as caught:
        check_same_vocabulary(tiny_model, folder)
    assert "\n" not in str(caught.value)

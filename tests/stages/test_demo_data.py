"""The demo's artifact: loads like any Hugging Face folder, and its tokenizer loses nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from wmss_cli.core import files
from wmss_cli.core.artifact import Job
from wmss_cli.core.manifest import Manifest, verify
from wmss_cli.core.schema import EXAMPLE, read_parquet
from wmss_cli.data.chat import Renderer
from wmss_cli.models.tokenizer import load_tokenizer
from wmss_cli.stages import demo_data
from wmss_cli.stages.demo import DemoDataConfig

EXAMPLES = "examples.parquet"
SMALL = DemoDataConfig(
    pretrain_samples=300, train_samples=100, test_problems=20, wrong_fraction=0.1, layers=1
)


def make(out: Path, config: DemoDataConfig = SMALL) -> Manifest:
    job = Job("demo_data", config.model_dump(), config.identity(), {}, str(out))
    return demo_data.run(job)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "data"
    make(out)
    return out


@pytest.fixture(scope="module")
def tokenizer(artifact: Path) -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(artifact / demo_data.INIT)
    return loaded


def test_all_files_exist_and_are_counted(artifact: Path) -> None:
    manifest = verify(artifact)
    assert read_parquet(artifact / EXAMPLES, EXAMPLE).num_rows == 300
    assert len(files.read_json_lines(artifact / demo_data.TEST)) == 20
    lines = (artifact / demo_data.TRAIN).read_text(encoding="utf-8").splitlines()
    assert len(lines) == manifest.metrics["train_lines"] == 102
    with pytest.raises(json.JSONDecodeError):
        _ = [json.loads(line) for line in lines]


def test_two_runs_give_the_same_bytes(artifact: Path, tmp_path: Path) -> None:
    assert make(tmp_path / "again").digest == verify(artifact).digest


def test_another_seed_gives_other_weights_and_problems(artifact: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", SMALL.model_copy(update={"seed": 1}))
    before = verify(artifact)
    changed = {name for name in before.files if before.files[name] != other.files.get(name)}
    assert {"init/model.safetensors", EXAMPLES, "train.jsonl", "test.jsonl"} <= changed


def test_text_survives_the_tokenizer_exactly(
    artifact: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    printable = "".join(map(chr, range(32, 127)))
    texts = [printable, "two  spaces,\n\nlines , and 's"]
    for row in read_parquet(artifact / EXAMPLES, EXAMPLE).to_pylist():
        texts.append(f"User: {row['prompt']}\n\nAssistant:\n{row['completion']}")
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode([*ids, tokenizer.eos_token_id], skip_special_tokens=True) == text


def test_words_tags_and_digits_are_single_tokens(artifact: Path) -> None:
    tokenizer = load_tokenizer(artifact / demo_data.INIT)
    prompt, completion = (
        "Tom has 3 cups, buys 12 more. How many are left?",
        "<think>3+12=15</think>\n<answer>15</answer>",
    )
    (sample,) = Renderer(tokenizer, system_prompt="").render([prompt], [completion])
    pieces = [tokenizer.decode([token]) for token in sample.input_ids]
    assert pieces[: sample.prompt_length] == [
        *("User", ":", " Tom", " has", " ", "3", " cups", ",", " buys", " ", "1", "2", " more"),
        *(".", " How", " many", " are", " left", "?\n\n", "Assistant", ":\n"),
    ]
    assert pieces[sample.prompt_length :] == [
        *("<think>", "3", "+", "1", "2", "=", "1", "5", "</think>", "\n"),
        *("<answer>", "1", "5", "</answer>", "<|end|>"),
    ]


def test_only_the_end_token_is_special(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.all_special_tokens == [demo_data.END]
    assert tokenizer.pad_token == tokenizer.eos_token == demo_data.END
    assert tokenizer.chat_template is None


def test_model_loads_and_fits_its_tokenizer(
    artifact: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    model = AutoModelForCausalLM.from_pretrained(artifact / demo_data.INIT)
    assert model.config.model_type == "qwen3"
    assert model.dtype == torch.float32
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id

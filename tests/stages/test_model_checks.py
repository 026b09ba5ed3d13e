"""Models that cannot work are refused when they are planned, sent, and when a stage begins."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import error_of, invoke, right_records, write_records
from safetensors.torch import load_file, save_file
from slurm.fake_slurm import FakeSlurm
from table import make_token_table
from tiny import END, make_tiny_model, make_tiny_tokenizer
from tokenizers import AddedToken

from wmss_cli.core.artifact import Job
from wmss_cli.core.config import Config, EvalConfig, ScoreConfig, Section, SftConfig, TokenizeConfig
from wmss_cli.core.errors import ConfigError, WmssError
from wmss_cli.models.template import PLAIN_TEMPLATE
from wmss_cli.models.tokenizer import load_tokenizer
from wmss_cli.stages.model_checks import check_job
from wmss_cli.stages.pipeline import plan_pipeline

CHATML = (
    "{%- for m in messages -%}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|im_start|>assistant\n{%- endif -%}"
)


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, free to be changed."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def set_config(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def as_adapter(folder: Path) -> None:
    file = folder / "model.safetensors"
    weights = {f"base_model.model.{name}": w for name, w in load_file(file).items()}
    save_file(weights, file, {"format": "pt"})


def more_layers(folder: Path) -> None:
    set_config(folder, num_hidden_layers=3, layer_types=["full_attention"] * 3)


def not_resized(folder: Path) -> None:
    tokenizer = make_tiny_tokenizer()
    marks = [AddedToken(mark, special=True) for mark in ("<|im_start|>", "<|im_end|>")]
    tokenizer.add_tokens(marks, special_tokens=True)
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)


def short(folder: Path) -> None:
    set_config(folder, max_position_embeddings=4096)


def pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def without_question(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")


def with_chance(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ [1, 2] | random }}" + PLAIN_TEMPLATE)


FAULTS: dict[Callable[[Path], None], str] = {
    as_adapter: "keys begin with base_model.model.: merge the PEFT adapter first",
    more_layers: "11 missing (model.layers.2.input_layernorm.weight, ",
    not_resized: "2 tokens beyond the 320 rows of the embedding, such as '<|im_start|>', id 320",
    short: "made for 4,096 tokens (max_position_embeddings in config.json), and tokenize.max_seq",
    pointer: "model.safetensors: a pointer of git-lfs",
    cut: "model.safetensors: cut or damaged",
    without_question: "leaves the question out",
    with_chance: "uses random, which writes something else each time",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_study_of_such_a_model_is_not_planned(
    folder: Path, tmp_path: Path, fault: Callable[[Path], None]
) -> None:
    data = str(write_records(tmp_path / "data.jsonl", right_records(4)))
    config = Config(
        run_dir=str(tmp_path / "runs"), model=str(folder), data=[data], eval_files={"own": data}
    )
    plan_pipeline(config)
    fault(folder)
    for provisional in (False, True):
        with pytest.raises(WmssError) as caught:
            plan_pipeline(config, provisional)
        assert FAULTS[fault] in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("command", ["tokenize", "sft", "score-entropy", "eval", "joint-train"])
def test_no_stage_is_sent_with_such_a_model(
    folder: Path, tmp_path: Path, slurm: FakeSlurm, command: str
) -> None:
    tokens = make_token_table(tmp_path / "tokens", folder, [(4, 4)] * 3)
    problems = tmp_path / "own.jsonl"
    problems.write_text('{"id": "a", "question": "2+3?", "answer": "5"}\n')
    as_adapter(folder)
    inputs = {
        "tokenize": ("--examples", tokens, "--model", folder),
        "sft": ("--tokens", tokens, "--model", folder),
        "score-entropy": ("--tokens", tokens, "--model", folder),
        "joint-train": ("--tokens", tokens, "--strong", folder, "--weak", folder),
        "eval": ("--task", f"own={problems}", "--model", folder),
    }[command]
    for where in (("--cluster", "slurm", "--profile", "cpu"), ()):
        result = invoke(command, *inputs, "--out", tmp_path / "out", *where)
        assert "merge the PEFT adapter first" in error_of(result)
        assert result.exit_code == 3
    assert slurm.jobs() == []
    assert not (tmp_path / "out").exists()


def test_a_study_is_planned_and_refused_without_torch(folder: Path, tmp_path: Path) -> None:
    # As on a login node that has none.
    data = write_records(tmp_path / "data.jsonl", right_records(4))
    file = tmp_path / "study.yaml"
    lines = f"run_dir: runs\nmodel: {folder}\ndata: [{data}]\neval_files: {{own: {data}}}\n"
    file.write_text(lines)
    not_resized(folder)
    code = f"""
import sys
sys.modules.update(dict.fromkeys(["torch", "transformers", "deepspeed", "datasets"]))
from wmss_cli.core.resolve import resolve
from wmss_cli.stages.pipeline import plan_pipeline
from pathlib import Path
plan_pipeline(resolve(Path({str(file)!r})).config)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("wmss_cli.core.errors.ConfigError")
    assert FAULTS[not_resized] in last


def test_a_table_with_ids_beyond_the_model_is_refused(folder: Path, tmp_path: Path) -> None:
    tokens = make_token_table(tmp_path / "tokens", folder, [(40, 400)])
    small = make_tiny_model(tmp_path / "small", vocab_size=300)
    check_job(job("sft", SftConfig(), strong=folder, tokens=tokens))
    with pytest.raises(ConfigError, match="the token id 319, beyond the 300 rows of the embed"):
        check_job(job("sft", SftConfig(), strong=small, tokens=tokens))


def test_without_a_tokenizer_json_the_stage_itself_looks(folder: Path) -> None:
    not_resized(folder)
    tokenizer = load_tokenizer(folder)
    (folder / "tokenizer.json").unlink()
    asked = job("tokenize", TokenizeConfig(), model=folder)
    assert check_job(asked) == []
    with pytest.raises(ConfigError, match="2 tokens beyond the 320 rows of the embedding"):
        check_job(asked, tokenizer)


# Lengths.


def job(stage: str, config: Section, **inputs: Path) -> Job:
    paths = {role: str(path) for role, path in inputs.items()}
    return Job(stage, config.model_dump(mode="json"), config.identity(), paths, "out")


def test_a_length_limit_beyond_the_model_is_refused(folder: Path) -> None:
    short(folder)
    check_job(job("tokenize", TokenizeConfig(max_seq_len=4096), model=folder))
    with pytest.raises(ConfigError, match=r"max_seq_len is 4097; set it to that or less"):
        check_job(job("tokenize", TokenizeConfig(max_seq_len=4097), model=folder))


@pytest.mark.parametrize(("stage", "role"), [("sft", "strong"), ("score_entropy", "model")])
def test_a_table_with_longer_samples_than_the_model_takes_is_refused(
    folder: Path, tmp_path: Path, stage: str, role: str
) -> None:
    tokens = make_token_table(tmp_path / "tokens", folder, [(4, 4), (4, 12)])
    config: Section = SftConfig() if stage == "sft" else ScoreConfig()
    set_config(folder, max_position_embeddings=16)
    check_job(job(stage, config, **{role: folder, "tokens": tokens}))
    set_config(folder, max_position_embeddings=15)
    with pytest.raises(ConfigError, match="has a sample of 16; run tokenize with a lower max_seq"):
        check_job(job(stage, config, **{role: folder, "tokens": tokens}))


def test_an_answer_must_fit_behind_the_longest_prompt(folder: Path, tmp_path: Path) -> None:
    problems = tmp_path / "own.jsonl"
    rows = [{"id": str(n), "question": "x" * n, "answer": "5"} for n in (1, 40)]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def ask(positions: int, new_tokens: int, **options: Any) -> None:
        set_config(folder, max_position_embeddings=positions)
        config = EvalConfig(system_prompt="", max_new_tokens=new_tokens, **options)
        check_job(job("eval", config, model=folder, **{"task-own": problems}))

    prompt = 40 + len(make_tiny_tokenizer()("User: \n\nAssistant:\n")["input_ids"])
    ask(prompt + 100, 100)
    ask(prompt + 99, 100, limit=1)
    with pytest.raises(
        ConfigError,
        match=rf"may have 100 after a prompt of {prompt}; set eval\.max_new_tokens to 99 or less",
    ):
        ask(prompt + 99, 100)
    with pytest.raises(ConfigError, match="to own may have 100 after its prompt; set eval"):
        ask(100, 100)
    with pytest.raises(ConfigError, match="leave the problem out, or use a model that takes mor"):
        ask(prompt, 1)


def test_a_stop_that_ends_nothing_is_said(folder: Path) -> None:
    said = {"_from_model_config": True, "eos_token_id": 65}
    (folder / "generation_config.json").write_text(json.dumps(said))
    [note] = check_job(job("tokenize", TokenizeConfig(), model=folder))
    assert note.endswith(
        "eos_token_id 65 of generation_config.json does not end an answer, since it is not a token "
        "of its own in the tokenizer"
    )


def test_a_special_tag_of_the_method_must_be_in_the_embedding(folder: Path) -> None:
    tokenizer = make_tiny_tokenizer()
    tokenizer.add_tokens([AddedToken("<think>", special=True)], special_tokens=True)
    tokenizer.save_pretrained(folder)
    with pytest.raises(ConfigError, match="such as '<think>', id 320"):
        check_job(job("tokenize", TokenizeConfig(), model=folder))
    assert END in tokenizer.get_vocab()

"""Stage ``demo_data``: the material of ``make demo``, all generated from a seed.

The artifact contains a model with random weights and its own small tokenizer (``init``), records
to make a base model from it (``examples.parquet``), records for the method, some faulty on
purpose (``train.jsonl``), and problems to be tested on (``test.jsonl``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from wmss_cli.core import files
from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.schema import EXAMPLE, example_id, write_parquet
from wmss_cli.core.tags import TAGS
from wmss_cli.data import arithmetic
from wmss_cli.stages.demo import DemoDataConfig

TRAIN, TEST, INIT = "train.jsonl", "test.jsonl", "init"
END = "<|end|>"

_LARGEST_VOCABULARY = 400
_POSITIONS = 512
# As Qwen's own tokenizers split text, so that each digit is a token; from transformers,
# Qwen2Tokenizer.
_PIECES = Regex(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TAG = re.compile("|".join(TAGS))


def run(job: Job) -> Manifest:
    """Generate the data, train the tokenizer on them, and write a model with random weights.

    Parameters
    ----------
    job : Job
        With the section :class:`DemoDataConfig` and no inputs.

    Returns
    -------
    Manifest
        Its metrics count records, test problems, vocabulary entries and parameters.
    """
    config = DemoDataConfig.model_validate(job.config)
    pretrain = arithmetic.pretrain_records(config.pretrain_samples, config.seed)
    train = arithmetic.train_records(config.train_samples, config.seed, config.wrong_fraction)
    test = arithmetic.test_problems(config.test_problems, config.seed)
    broken = round(config.train_samples * config.wrong_fraction / 5)
    with open_draft(job) as draft:
        # These are right by construction, so the base model's samples need no curation.
        write_parquet(draft.folder / "examples.parquet", map(_example, pretrain), EXAMPLE)
        lines = arithmetic.json_lines(train, broken, config.seed)
        files.write_text(draft.folder / TRAIN, "".join(lines))
        files.write_json_lines(draft.folder / TEST, test)
        tokenizer = _tokenizer(_texts(pretrain))
        model = _random_model(config, tokenizer)
        tokenizer.save_pretrained(draft.folder / INIT)
        model.save_pretrained(draft.folder / INIT)
        return draft.commit(
            {
                "pretrain_records": len(pretrain),
                "train_lines": len(train) + broken,
                "test_problems": len(test),
                "vocabulary": len(tokenizer),
                "parameters": model.num_parameters(),
            }
        )


def _example(record: arithmetic.Record) -> dict[str, str]:
    user, assistant = record["messages"]
    return {
        "example_id": example_id(user["content"], assistant["content"]),
        "source": user["info"]["source"],
        "prompt": user["content"],
        "completion": assistant["content"],
        "reference_answer": user["info"]["reference_answer"],
    }


def _texts(records: list[arithmetic.Record]) -> Iterator[str]:
    """Yield the samples much as training will render them, so that all its words are known."""
    yield "".join(map(chr, range(32, 127)))
    for record in records:
        user, assistant = (message["content"] for message in record["messages"])
        text = f"User: {user}\n\nAssistant:\n{assistant}"
        yield from _TAG.split(text)


def _tokenizer(texts: Iterator[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE: printable ASCII, and every frequent word as one token."""
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = pre_tokenizers.Split(_PIECES, behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=_LARGEST_VOCABULARY, min_frequency=2, show_progress=False),
    )
    # The tags are ordinary tokens, so that decoding keeps them when it leaves out special ones.
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=END,
        model_max_length=_POSITIONS,
        clean_up_tokenization_spaces=False,
    )


def _random_model(config: DemoDataConfig, tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    end = tokenizer.eos_token_id
    shape = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        head_dim=config.head_dim,
        max_position_embeddings=_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=end,
        dtype="float32",
    )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = Qwen3ForCausalLM(shape)
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=end, do_sample=False)
    return model

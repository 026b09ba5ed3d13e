"""Load a tokenizer, and compare two."""

from __future__ import annotations

import json
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from wmss_cli.core.errors import ConfigError
from wmss_cli.core.files import canonical_hash
from wmss_cli.models.folder import reason_of, vocab_size
from wmss_cli.models.template import PLAIN_TEMPLATE


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model; if it has no chat template, it gets the plain one.

    Raises
    ------
    ConfigError
        If it does not exist, or has no end-of-sequence token.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except StrictDataclassError as error:
        raise ConfigError(f"{folder}: transformers cannot load it ({reason_of(error)})") from None
    # The tokenizers library raises nothing more specific for a file that it cannot read.
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(f"{folder}: no tokenizer that loads ({reason})") from None
    # Without its files, transformers silently makes an empty one from the model's type.
    if len(tokenizer) <= len(tokenizer.added_tokens_decoder):
        raise ConfigError(f"{folder}: the tokenizer is empty; copy its files (tokenizer.json)")
    if tokenizer.eos_token_id is None:
        raise ConfigError(f"{folder}: the tokenizer has no eos_token; set one and save it again")
    if not tokenizer.chat_template:
        # A model that was trained with a token before every text fails without it.
        bos = (
            tokenizer.bos_token_id is not None and tokenizer.bos_token_id in tokenizer("").input_ids
        )
        tokenizer.chat_template = ("{{ bos_token }}" if bos else "") + PLAIN_TEMPLATE
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a hash that is equal for tokenizers that give the same ids for the same text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        rules = tokenizer.get_vocab()
    else:
        rules = json.loads(backend.to_str())
        # Left over from the last call, and not a property of the tokenizer.
        rules = {k: v for k, v in rules.items() if k not in ("padding", "truncation")}
    return canonical_hash({"rules": rules, "eos": tokenizer.eos_token_id})


def load_tokenizer_of(folder: Path, expected: str, token_table: str) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer, which must be the one that made a token table.

    Parameters
    ----------
    folder : Path
        The folder of the model.
    expected : str
        Fingerprint of the table's tokenizer.
    token_table : str
        The table's path, for the message.

    Raises
    ------
    ConfigError
        If it is a different tokenizer.
    """
    tokenizer = load_tokenizer(folder)
    if tokenizer_fingerprint(tokenizer) != expected:
        raise ConfigError(
            f"{folder}: its tokenizer is not the one that made {token_table}; "
            "run tokenize with this model"
        )
    return tokenizer


def check_same_vocabulary(weak: Path, strong: Path) -> None:
    """Refuse a pair whose logits do not refer to the same tokens, before any weights load.

    Raises
    ------
    ConfigError
        If the vocabularies' sizes or the tokenizers differ.
    """
    sizes = vocab_size(weak), vocab_size(strong)
    if sizes[0] != sizes[1]:
        raise ConfigError(
            f"weak {weak} has {sizes[0]} logits and strong {strong} has {sizes[1]}: "
            "logits cannot be mixed; use checkpoints of one model"
        )
    prints = [tokenizer_fingerprint(load_tokenizer(folder)) for folder in (weak, strong)]
    if prints[0] != prints[1]:
        raise ConfigError(
            f"weak {weak} and strong {strong} have different tokenizers: "
            "logits cannot be mixed; use checkpoints of one model"
        )

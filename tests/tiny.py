"""A model and a tokenizer that are made in a moment: random weights, a few hundred tokens."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

END = "<|end|>"
"""End of sequence and padding of the tiny tokenizer."""

_CORPUS = (
    "System User Assistant think answer question reasoning process respectively enclosed within "
    "Tom has some apples and books and coins. Anna buys more of them, Ben finds and Lucy loses. "
    "How many are left in all? Compute the sum. The last result is what is asked for here. "
) * 3


def make_tiny_tokenizer(vocab_size: int = 320) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE with that many entries (from 257) and without a chat template."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[END],
        show_progress=False,
    )
    backend.train_from_iterator([_CORPUS], trainer)
    assert backend.get_vocab_size() == vocab_size, "the corpus is too small for that many entries"
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END, pad_token=END)


def make_tiny_model(
    folder: Path, seed: int = 0, tie: bool = True, vocab_size: int = 320, hidden_size: int = 32
) -> Path:
    """Write a Qwen3 of two layers with random fp32 weights, and its tokenizer, into a folder.

    Parameters
    ----------
    folder : Path
        Is created.
    seed : int
        Of the weights; the tokenizer is always the same.
    tie : bool
        Whether the head shares the embedding.
    vocab_size : int
        Entries of the tokenizer, and logits.
    hidden_size : int
        Width, a multiple of 16.
    """
    tokenizer = make_tiny_tokenizer(vocab_size)
    config = Qwen3Config(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=hidden_size // 2,
        max_position_embeddings=16384,
        tie_word_embeddings=tie,
        # With the usual 0.02 so small a model only repeats its last token.
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder

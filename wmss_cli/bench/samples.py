"""Samples of realistic lengths with random token ids, in a token table like the stages'."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.files import canonical_hash
from wmss_cli.data.tokens import TOKENS_FILE, TokenTable, write_tokens

GSM8K_LENGTHS = (
    (39, 44),
    (34, 44),
    (61, 68),
    (56, 95),
    (27, 51),
    (65, 119),
    (62, 66),
    (107, 95),
    (112, 108),
    (68, 283),
    (76, 132),
    (95, 108),
    (41, 67),
    (71, 61),
    (31, 63),
    (70, 137),
    (56, 92),
    (80, 187),
    (64, 111),
    (64, 77),
    (73, 62),
    (50, 103),
    (63, 74),
    (57, 117),
    (81, 45),
    (94, 141),
    (53, 72),
    (87, 163),
    (50, 55),
    (55, 209),
    (59, 96),
    (64, 100),
    (116, 81),
    (68, 105),
    (43, 55),
    (50, 72),
    (48, 57),
    (84, 125),
    (71, 42),
    (79, 99),
    (45, 139),
    (71, 74),
    (66, 109),
    (54, 89),
    (69, 96),
    (87, 93),
    (44, 140),
    (55, 70),
    (48, 35),
    (58, 29),
    (71, 89),
    (63, 126),
    (49, 59),
    (60, 65),
    (70, 98),
    (35, 66),
    (62, 102),
    (62, 124),
    (75, 149),
    (89, 90),
    (60, 121),
    (97, 120),
    (40, 84),
    (90, 78),
)
"""Tokens of question and solution of the first 64 problems of GSM8K's training set.

Source: openai/grade-school-math, ``train.jsonl``, tokenised by SmolLM2's tokenizer, without a
chat template and without an end token. A test counts them again if both are available.
"""

Lengths = Sequence[tuple[int, int]]
"""Prompt and completion of each sample, in tokens."""


def random_rows(lengths: Lengths, vocab_size: int) -> list[list[int]]:
    """Return the token ids of samples, prompt and completion together."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, vocab_size, size=sum(pair)).tolist() for pair in lengths]


def write_table(folder: Path, lengths: Lengths, vocab_size: int) -> TokenTable:
    """Write random samples once, as the tokenize stage would, and open them.

    Parameters
    ----------
    folder : Path
        The folder of the artifact.
    lengths : sequence of (int, int)
        Prompt and completion of each sample.
    vocab_size : int
        Size of the vocabulary of the model that will read them.
    """
    if not folder.is_dir():
        identity = {"lengths": [list(pair) for pair in lengths], "vocab_size": vocab_size}
        with open_draft(Job("tokenize", {}, identity, {}, str(folder))) as draft:
            rows = random_rows(lengths, vocab_size)
            write_tokens(
                draft.folder / TOKENS_FILE,
                (
                    {
                        "example_id": canonical_hash([i, ids]),
                        "input_ids": ids,
                        "prompt_length": prompt,
                        "truncated": False,
                    }
                    for i, (ids, (prompt, _)) in enumerate(zip(rows, lengths, strict=True))
                ),
            )
            draft.commit({"tokenizer": "none", "stop_token_ids": [0]})
    return TokenTable(folder)

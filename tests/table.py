"""Token tables of random samples, written as the tokenize stage writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.schema import example_id
from wmss_cli.data.tokens import TOKENS_FILE, write_tokens
from wmss_cli.models.tokenizer import load_tokenizer, tokenizer_fingerprint


def make_token_table(
    folder: Path, model: Path, shapes: Sequence[tuple[int, int]], seed: int = 0
) -> Path:
    """Write samples of the given (prompt, completion) lengths with random token ids."""
    tokenizer = load_tokenizer(model)
    rng = np.random.default_rng(seed)
    job = Job("tokenize", {}, {"seed": seed, "shapes": [list(s) for s in shapes]}, {}, str(folder))
    rows = [
        {
            "example_id": example_id(str(seed), str(i)),
            "input_ids": rng.integers(0, len(tokenizer), size=sum(shape)).tolist(),
            "prompt_length": shape[0],
            "truncated": False,
        }
        for i, shape in enumerate(shapes)
    ]
    with open_draft(job) as draft:
        write_tokens(draft.folder / TOKENS_FILE, rows)
        draft.commit(
            {
                "tokenizer": tokenizer_fingerprint(tokenizer),
                "stop_token_ids": [tokenizer.eos_token_id],
            }
        )
    return folder

"""tokenize: curated examples → the token table that sft, scoring and joint training share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wmss_cli.core.artifact import Draft, Job, open_draft
from wmss_cli.core.config import TokenizeConfig
from wmss_cli.core.errors import ConfigError, DataError
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.progress import ProgressWriter
from wmss_cli.core.schema import write_parquet
from wmss_cli.data.card import LENGTHS_FILE, plot_lengths
from wmss_cli.data.chat import Renderer
from wmss_cli.data.tokens import TOKENS_FILE, cut, write_tokens
from wmss_cli.models.consistency import examine
from wmss_cli.models.tokenizer import load_tokenizer, tokenizer_fingerprint
from wmss_cli.stages.model_checks import check_job, check_prompts, say_notes

_LEFT_OUT = pa.schema([("example_id", pa.string()), ("reason", pa.string())])


def run(job: Job) -> Manifest:
    """Render every example, apply the length limit, and write the token table.

    Inputs: ``examples`` (a curate artifact) and ``model`` (for its tokenizer). Writes
    ``tokens.arrow``, ``left_out.parquet`` and ``lengths.png``, how long the examples are.

    Raises
    ------
    ConfigError
        If the model, its tokenizer and the length limit do not fit each other
        (:func:`wmss_cli.stages.model_checks.check_job`).
    DataError
        If no example is left.
    """
    config = TokenizeConfig.model_validate(job.config)
    if not _examples(job).is_file():
        raise ConfigError(f"{_examples(job)}: not found; --examples takes what 'wmss curate' wrote")
    folder = Path(job.inputs["model"])
    tokenizer = load_tokenizer(folder)
    say_notes(check_job(job, tokenizer))
    renderer = Renderer(tokenizer, config.system_prompt, config.template_date)
    stops = check_prompts(examine(folder), renderer)
    with open_draft(job) as draft:
        tally = _Tally()
        write_tokens(draft.folder / TOKENS_FILE, _rows(job, config, renderer, draft, tally))
        write_parquet(draft.folder / "left_out.parquet", tally.left_out, _LEFT_OUT)
        if not tally.lengths:
            reasons = ", ".join(f"{n} {reason}" for reason, n in tally.counts.items())
            raise DataError(
                f"{job.inputs['examples']}: no example fits max_seq_len {config.max_seq_len} "
                f"({reasons}); raise it or set tokenize.too_long to truncate"
            )
        lengths = np.array(tally.lengths)
        whole, counts = np.unique(np.array(tally.whole_lengths), return_counts=True)
        plot_lengths(whole, counts, "tokens", draft.folder / LENGTHS_FILE, config.max_seq_len)
        return draft.commit(
            {
                "examples": len(lengths),
                "left_out": dict(tally.counts),
                "truncated": tally.truncated,
                "tokens": int(lengths.sum()),
                "completion_tokens": tally.completion_tokens,
                "special_tokens_as_text": tally.with_special_tokens,
                "longest_tokens": int(lengths.max()),
                "tokenizer": tokenizer_fingerprint(tokenizer),
                "largest_token_id": tally.largest_token_id,
                "stop_token_ids": stops,
            }
        )


def _examples(job: Job) -> Path:
    return Path(job.inputs["examples"]) / "examples.parquet"


class _Tally:
    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.whole_lengths: list[int] = []
        """Lengths of all examples, before any is cut or left out."""
        self.completion_tokens = 0
        self.truncated = 0
        self.with_special_tokens = 0
        """Examples that contain the name of a special token, which is tokenised as text."""
        self.largest_token_id = 0
        self.counts: Counter[str] = Counter()
        self.left_out: list[dict[str, str]] = []
        self.seen: set[str] = set()


def _rows(
    job: Job, config: TokenizeConfig, renderer: Renderer, draft: Draft, tally: _Tally
) -> Iterator[dict[str, Any]]:
    # With pre-buffering, all examples would stay in memory.
    source = pq.ParquetFile(_examples(job), pre_buffer=False)
    progress = ProgressWriter(draft.folder, "examples", source.metadata.num_rows)
    done = 0
    for batch in source.iter_batches(batch_size=1000):
        examples = batch.to_pydict()
        texts = zip(examples["prompt"], examples["completion"], strict=True)
        tally.with_special_tokens += sum(any(map(renderer.has_special_token, t)) for t in texts)
        rendered = renderer.render(examples["prompt"], examples["completion"])
        for example_id, sample in zip(examples["example_id"], rendered, strict=True):
            tally.whole_lengths.append(len(sample.input_ids))
            result = cut(sample, config.max_seq_len, config.too_long)
            # Rows are joined by their id, so a copy that curation let through is left out here.
            reason = "duplicate" if example_id in tally.seen else result.reason
            tally.seen.add(example_id)
            if result.rendered is None or reason is not None:
                assert reason is not None
                tally.counts[reason] += 1
                tally.left_out.append({"example_id": example_id, "reason": reason})
                continue
            kept = result.rendered
            tally.lengths.append(len(kept.input_ids))
            tally.completion_tokens += len(kept.input_ids) - kept.prompt_length
            tally.truncated += result.truncated
            tally.largest_token_id = max(tally.largest_token_id, *kept.input_ids)
            yield {
                "example_id": example_id,
                "input_ids": kept.input_ids,
                "prompt_length": kept.prompt_length,
                "truncated": result.truncated,
            }
        done += len(rendered)
        progress.update(done)

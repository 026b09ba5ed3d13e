"""The samples of a forecast: from an existing token table, as given, or assumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from wmss_cli.core.config import Config
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.manifest import MANIFEST

SAMPLES = 215_000
MEAN_TOKENS = 4096
COMPLETION_TOKENS = 3840
"""Assumed for AM-1.4M after curation, if nothing is known yet; they were not counted."""

_SPREAD = 256
"""This many lengths stand for all if only their mean is known."""
_DRAWN = 4096


@dataclass(frozen=True)
class Workload:
    """The samples to train on.

    Attributes
    ----------
    samples : int
        Number of samples.
    lengths : sequence of int
        Tokens of each sample, or of some that stand for all.
    completion_tokens : float
        Mean completion tokens per sample.
    longest : int
        Tokens of the longest sample.
    source : str
        Where these values come from.
    assumed : tuple of str
        Sentences on what is not known, each with the option that replaces it.
    """

    samples: int
    lengths: Sequence[int]
    completion_tokens: float
    longest: int
    source: str
    assumed: tuple[str, ...] = ()

    @property
    def mean_tokens(self) -> float:
        """Mean tokens per sample."""
        return sum(self.lengths) / len(self.lengths)

    @cached_property
    def drawn(self) -> tuple[int, ...]:
        """Lengths in a random order that is always the same, as training draws them."""
        picks = np.random.default_rng(0).choice(len(self.lengths), _DRAWN)
        return tuple(np.asarray(self.lengths)[picks].tolist())


def workload(
    config: Config,
    samples: int | None = None,
    mean_tokens: int | None = None,
    mean_completion_tokens: int | None = None,
) -> Workload:
    """Return the samples of a configuration: as given, from its token table, or assumed.

    Parameters
    ----------
    config : Config
        Configuration of the pipeline.
    samples, mean_tokens : int, optional
        What is left out is assumed.
    mean_completion_tokens : int, optional
        By default all tokens, if `mean_tokens` is given.

    Raises
    ------
    ConfigError
        If the given values contradict each other.
    """
    if samples is None and mean_tokens is None and mean_completion_tokens is None:
        folder = _token_table(config)
        if folder is not None:
            return _of_table(folder)
    longest = config.tokenize.max_seq_len
    if mean_tokens is not None and mean_tokens > longest:
        raise ConfigError(
            f"--mean-tokens {mean_tokens} is above tokenize.max_seq_len {longest}; change one of "
            "them"
        )
    mean = min(MEAN_TOKENS, longest) if mean_tokens is None else mean_tokens
    completion = mean_completion_tokens
    if completion is None:
        completion = min(COMPLETION_TOKENS, mean) if mean_tokens is None else mean
    if completion > mean:
        raise ConfigError("--mean-completion-tokens is above --mean-tokens; lower it")
    count = SAMPLES if samples is None else samples
    assumed = []
    if samples is None:
        assumed.append(f"{count:,} samples, as in AM-1.4M; --samples replaces it")
    if mean_tokens is None:
        assumed.append(
            f"{mean:,} tokens per sample, {completion:,} of them completion; --mean-tokens and "
            "--mean-completion-tokens replace it"
        )
    lengths = spread(mean, longest)
    assumed.append(
        f"lengths spread evenly from {min(lengths):,} to {max(lengths):,} tokens; the token table "
        "replaces it"
    )
    source = "assumptions" if samples is None and mean_tokens is None else "options"
    return Workload(count, lengths, completion, longest, source, tuple(assumed))


def spread(mean: int, longest: int) -> list[int]:
    """Return lengths that are spread evenly around a mean, as widely as 1 and `longest` allow."""
    reach = min(mean - 1, longest - mean)
    offsets = [round(reach * (2 * i + 1) / _SPREAD) for i in range(_SPREAD // 2)]
    return sorted([mean - one for one in offsets] + [mean + one for one in offsets])


def _of_table(folder: Path) -> Workload:
    from wmss_cli.data.tokens import TokenTable

    table = TokenTable(folder)
    completion_tokens = float(table.completion_lengths.mean())
    longest = int(table.lengths.max())
    return Workload(len(table), table.lengths.tolist(), completion_tokens, longest, str(folder))


def _token_table(config: Config) -> Path | None:
    # Fingerprints need the hashes of all inputs, so they are made only if there is something to
    # find.
    if not any(Path(config.run_dir).glob("tokenize-*")):
        return None
    from wmss_cli.stages.pipeline import token_table

    folder = token_table(config)
    return folder if (folder / MANIFEST).is_file() else None

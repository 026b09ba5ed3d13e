"""Logit statistics of the strong model along its training (Fig. 4 as a curve).

They are measured on fixed samples between two steps, without gradients and without dropout, so the
training ends with the same bits as one without them.
"""

from __future__ import annotations

from pathlib import Path

import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from torch import Tensor

from wmss_cli.core import files
from wmss_cli.data.batches import collate
from wmss_cli.data.packing import pack, pack_rows
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.causal import device
from wmss_cli.models.heads import Head
from wmss_cli.models.packed import packs
from wmss_cli.score.logits import STATISTICS, logit_statistics
from wmss_cli.stages.analyze import sampled_rows
from wmss_cli.train.loop import LOGITS_FILE
from wmss_cli.train.ranks import Ranks

SAMPLES = 200
"""How many samples are used; the same ones for every training on a token table."""

_SEED = 0
_CHUNK_TOKENS = 64
# Logits in float64 at a time, in addition to all that a training keeps in memory.


class LogitCurve:
    """Write a row of ``logits.jsonl`` every few steps.

    Each row has the ``step``, and the mean of each of :data:`~wmss_cli.score.logits.STATISTICS`
    over the samples' completion tokens. The methods must be called on all ranks, since each has its
    share of the samples.

    Parameters
    ----------
    engine : DeepSpeedEngine
        Engine over a :class:`~wmss_cli.train.pair.WeakStrongPair`.
    table : TokenTable
        Table that the samples are drawn from.
    every, steps : int
        Steps between two rows, and in total; there is a row before the first and after the last.
    max_batch_tokens : int
        Most tokens of a forward pass.
    folder : Path
        Where the file goes.
    ranks : Ranks
        The processes that train together.
    """

    def __init__(
        self,
        engine: DeepSpeedEngine,
        table: TokenTable,
        every: int,
        steps: int,
        max_batch_tokens: int,
        folder: Path,
        ranks: Ranks,
    ) -> None:
        rows = sampled_rows(len(table), SAMPLES, _SEED)
        # All ranks get the same number of bins: at ZeRO 3 each pass needs all ranks.
        cut = pack if packs(engine.module.strong) else pack_rows
        bins = cut(table.lengths[rows], max_batch_tokens, ranks.world_size)
        self._batches = [
            collate(table, rows[places]) for places in bins[ranks.rank :: ranks.world_size]
        ]
        self._engine = engine
        self._every = every
        self._steps = steps
        self._path = folder / LOGITS_FILE
        self._ranks = ranks

    def begin(self, step: int) -> None:
        """Drop the rows of steps that will be taken again; measure, if none has been taken.

        Parameters
        ----------
        step : int
            Step of the checkpoint that the training resumes from; 0 if there is none.
        """

        def rewind() -> None:
            rows = files.read_json_lines(self._path) if step and self._path.exists() else []
            files.write_json_lines(self._path, [row for row in rows if row["step"] <= step])

        self._ranks.from_first(rewind)
        if step == 0:
            self._measure(step)

    def after_step(self, step: int) -> None:
        """Measure, if a row is due after this many steps."""
        if step % self._every == 0 or step == self._steps:
            self._measure(step)

    @torch.no_grad()
    def _measure(self, step: int) -> None:
        self._engine.eval()
        # Through the engine, which gathers the weights at ZeRO 3.
        parts = []
        for batch in self._batches:
            self._ranks.beat()
            parts.append(self._engine(batch.to(device()), 1.0, look=_sums)[1].cpu())
        self._engine.train()
        *sums, tokens = self._ranks.sum(torch.stack(parts).sum(dim=0)).tolist()
        if self._ranks.is_first:
            means = {name: value / tokens for name, value in zip(STATISTICS, sums, strict=True)}
            files.append_json_line(self._path, {"step": step, **means})
            files.fsync(self._path)


def _sums(hidden: Tensor, head: Head, targets: Tensor) -> Tensor:
    """Return the sum of each statistic over the tokens, then their number, float64."""
    sums = torch.zeros(len(STATISTICS) + 1, dtype=torch.float64, device=hidden.device)
    parts = zip(hidden.split(_CHUNK_TOKENS), targets.split(_CHUNK_TOKENS), strict=True)
    for part, wanted in parts:
        found = logit_statistics(head.logits(part), wanted)
        sums[:-1] += torch.stack([found[name].sum() for name in STATISTICS])
    sums[-1] = len(targets)
    return sums

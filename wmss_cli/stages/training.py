"""What sft and joint-train share: from a job to a trained model, resumable at every step."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from wmss_cli.core.artifact import Draft, Job, open_draft, partial
from wmss_cli.core.config import TrainConfig, check_ranks
from wmss_cli.core.errors import ConfigError, DataError
from wmss_cli.core.files import read_json_lines
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.schema import ACTIVE, read_parquet
from wmss_cli.data.batches import BatchPlan, collate
from wmss_cli.data.packing import padding
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.card import training_so_far, write_card
from wmss_cli.models.causal import dtype_of, save_model
from wmss_cli.models.packed import packs
from wmss_cli.models.shape import ModelShape
from wmss_cli.models.stops import declared_stops
from wmss_cli.models.tokenizer import load_tokenizer_of
from wmss_cli.stages.logit_curve import LogitCurve
from wmss_cli.stages.model_checks import check_job, say_notes
from wmss_cli.stages.training_flops import plan_flops, sample_flops
from wmss_cli.stages.weak_states import FOLDER as WEAK_STATES
from wmss_cli.stages.weak_states import WeakStates, fill_weak_states
from wmss_cli.train import checkpoint
from wmss_cli.train.engine import build_engine, full_state_dict
from wmss_cli.train.loop import (
    CHECKPOINTS,
    METRICS_FILE,
    MicroBatch,
    TrainState,
    grown_files,
    train,
)
from wmss_cli.train.meter import StepCost
from wmss_cli.train.pair import WeakStrongPair
from wmss_cli.train.ranks import Ranks, join
from wmss_cli.train.trial import decide
from wmss_cli.train.writers import MetricWriters

Metrics = dict[str, Any]

_LOOKED_AT = 20
# Steps for which padding is counted.


class TableFeed:
    """The batches of a token table, for one rank (see :class:`wmss_cli.train.loop.Feed`)."""

    def __init__(
        self,
        table: TokenTable,
        plan: BatchPlan,
        ranks: Ranks,
        weak_states: WeakStates | None = None,
        padded: bool = False,
    ) -> None:
        self._padded = padded
        self._table = table
        self._plan = plan
        self._ranks = ranks
        self._weak_states = weak_states

    @property
    def steps(self) -> int:
        """Total number of optimizer steps."""
        return self._plan.steps

    def completion_tokens(self, step: int) -> int:
        """Return the completion tokens of the step's global batch, over all ranks."""
        return int(self._table.completion_lengths[self._plan.global_batch(step)].sum())

    def lengths(self, step: int) -> list[int]:
        """Return the tokens of each sample of the step's global batch, without padding."""
        return [int(n) for n in self._table.lengths[self._plan.global_batch(step)]]

    def micro_batches(self, step: int) -> list[MicroBatch]:
        """Return this rank's micro-batches of a step."""
        cut = self._plan.micro_batches(
            step, self._table.lengths, self._ranks.rank, self._ranks.world_size, self._padded
        )
        return [self._micro_batch(rows) for rows in cut]

    @property
    def longest_sample(self) -> int:
        """Tokens of the longest sample."""
        return int(self._table.lengths[self._plan.rows].max())

    @property
    def step_tokens(self) -> int:
        """Tokens of the fullest step, over all ranks."""
        return max(sum(self.lengths(step)) for step in range(self.steps))

    def longest_pass(self, tokens: int) -> MicroBatch:
        """Return a pass of about that many tokens: the longest samples that fit; at least one."""
        rows = np.unique(self._plan.rows)
        taken: list[int] = []
        for row in rows[np.argsort(-self._table.lengths[rows], kind="stable")]:
            length = int(self._table.lengths[row])
            if not taken or length <= tokens:
                taken.append(int(row))
                tokens -= length
        return self._micro_batch(np.array(taken))

    def _micro_batch(self, rows: NDArray[np.int64]) -> MicroBatch:
        return MicroBatch(
            collate(self._table, rows),
            [self._table.example_ids[row] for row in rows],
            None if self._weak_states is None else self._weak_states.of(rows),
        )


def run_training(
    job: Job,
    config: TrainConfig,
    build_pair: Callable[[], WeakStrongPair],
    outputs: Callable[[WeakStrongPair], dict[str, PreTrainedModel]],
    cached_weak: Path | None = None,
    replan: Callable[[TokenTable, BatchPlan], tuple[BatchPlan, Metrics]] | None = None,
) -> Manifest | None:
    """Train a pair on a token table and write the models.

    Parameters
    ----------
    job : Job
        With the inputs ``tokens``, ``strong`` and, if there is one, ``active``.
    config : TrainConfig
        Options of the stage.
    build_pair : callable
        Loads the weights; called after all checks that need none.
    outputs : callable
        The models to write at the end, by the name of their folder.
    cached_weak : Path, optional
        A frozen weak model whose hidden states are computed before the training begins.
    replan : callable, optional
        Turns the configuration's plan into another one, and returns further metrics.

    Returns
    -------
    Manifest or None
        The manifest on the first rank, None on the others.

    Raises
    ------
    ConfigError
        If the model's tokenizer did not make the token table, the precision does not go with
        the ZeRO stage, or what `report_to` names is not installed or refuses.
    DataError
        If a batch has no completion token.
    """
    if config.zero_stage == 0 and dtype_of(config.precision) == torch.bfloat16:
        raise ConfigError(
            "precision is bf16 on this machine, which needs zero_stage 1, 2 or 3; "
            "or set precision: fp32"
        )
    table = TokenTable(Path(job.inputs["tokens"]))
    folder = Path(job.inputs["strong"])
    tokenizer = load_tokenizer_of(folder, table.tokenizer, job.inputs["tokens"])
    notes = check_job(job, tokenizer)
    # From the model's own files, too: a table of an earlier version does not have all of them.
    heeded = declared_stops(folder).heeded(tokenizer.added_tokens_decoder)
    stops = sorted({*table.stop_token_ids, *heeded})
    plan = plan_batches(table, config, job.inputs.get("active"))
    more: Metrics = {}
    if replan is not None:
        plan, more = replan(table, plan)
    if not table.completion_lengths[plan.rows].all():
        raise DataError(f"{job.inputs['tokens']}: a sample has no completion token; redo tokenize")
    ranks = join(config.hang_limit_min)
    with ExitStack() as stack:
        stack.enter_context(closing(ranks))
        check_ranks(config.global_batch_size, ranks.world_size)
        writers = MetricWriters(config.report_to, Path(job.out), job.config, ranks)
        draft = stack.enter_context(_shared_draft(job, ranks))
        stack.enter_context(writers)
        if ranks.is_first:
            say_notes(notes)
        work = partial(Path(job.out))
        found = checkpoint.newest(work / CHECKPOINTS, ranks)
        if found is not None:
            saved_at = found[0]
            ranks.from_first(lambda: checkpoint.restore(saved_at, grown_files(work)))
        # At ZeRO 0 every rank has the whole state, so any number of ranks can load it.
        universal = (
            found is not None and found[1].world_size != ranks.world_size and config.zero_stage > 0
        )
        states = None
        if cached_weak is not None:
            states = fill_weak_states(
                work / WEAK_STATES,
                cached_weak,
                config.precision,
                table,
                plan.rows,
                config.pass_tokens,
                ranks,
            )
        writers.open(found[1].step if found is not None else 0, work / METRICS_FILE)
        pair = build_pair()
        models = [model for model in (pair.strong, pair.weak) if model is not None]
        # All ranks split a step in the same way, whatever a check found on one of them.
        padded = ranks.any(not all(packs(model) for model in models))
        feed = TableFeed(table, plan, ranks, states, padded)
        config = decide(config, pair, feed, ranks, work / CHECKPOINTS)
        plan = replace(plan, micro_batch_tokens=config.pass_tokens)
        feed = TableFeed(table, plan, ranks, states, padded)
        if padded and ranks.is_first:
            _say_padding(table, plan, ranks.world_size)
        engine = build_engine(pair, config, load_universal=universal)
        state = TrainState()
        if found is not None:
            path, saved = found
            if saved.dtype != str(dtype_of(config.precision)):
                raise ConfigError(
                    f"{path}: was trained in {saved.dtype}, this machine runs precision "
                    f"{config.precision} as {dtype_of(config.precision)}; continue on the kind of "
                    "machine where it began, or use --force to start again"
                )
            source = checkpoint.universal_form(path, ranks) if universal else path
            checkpoint.load(engine, source, universal)
            state = TrainState(saved.step, dict(saved.totals))

        def write(name: str, model: PreTrainedModel) -> None:
            def save(weights: dict[str, Tensor]) -> None:
                shutil.rmtree(work / name, ignore_errors=True)
                save_model(model, weights, tokenizer, stops, work / name)
                write_card(work / name, job, training_so_far(read_json_lines(work / METRICS_FILE)))

            with ranks.patient():
                weights = full_state_dict(model, ranks.is_first)
                # The others wait for it here, not in the next collective, which has a time limit.
                ranks.from_first(lambda: save(weights))

        def keep_epoch(step: int) -> None:
            for epoch in config.epochs_kept:
                if plan.last_step(epoch) == step:
                    write(f"epoch-{epoch}", pair.strong)

        curve = None
        if config.logits_every_steps is not None:
            curve = LogitCurve(
                engine,
                table,
                config.logits_every_steps,
                plan.steps,
                config.pass_tokens,
                work,
                ranks,
            )
            curve.begin(state.step)

        def after_step(step: int) -> None:
            keep_epoch(step)
            if curve is not None:
                curve.after_step(step)

        train(engine, feed, config, state, work, ranks, writers, after_step)
        for name, model in outputs(pair).items():
            write(name, model)
        ranks.barrier()
        # From here on the first rank is alone.
        ranks.close()
        if draft is None:
            return None
        metrics = _metrics(work, state, plan, ranks, config)
        return draft.commit(
            metrics | {"flops": _flops(pair, table, plan, cached_weak)} | more,
            scratch=[CHECKPOINTS, WEAK_STATES],
        )


def _say_padding(table: TokenTable, plan: BatchPlan, world_size: int) -> None:
    """Log the cost of a row of its own for each sample."""
    batches = (
        places
        for step in range(min(plan.steps, _LOOKED_AT))
        for rank in range(world_size)
        for places in plan.micro_batches(step, table.lengths, rank, world_size, padded=True)
    )
    share = padding(table.lengths, batches)
    print(f"padding is {share:.0%} of all tokens in passes", flush=True)  # noqa: T201


@contextmanager
def _shared_draft(job: Job, ranks: Ranks) -> Iterator[Draft | None]:
    """Open the draft on the first rank; if that fails, all ranks fail."""
    context = open_draft(job, resumable=True) if ranks.is_first else nullcontext()
    draft: list[Draft] = []

    def enter() -> None:
        draft.append(context.__enter__())  # type: ignore[arg-type]

    ranks.from_first(enter)
    try:
        yield draft[0] if draft else None
    finally:
        if draft:
            context.__exit__(None, None, None)


def plan_batches(table: TokenTable, config: TrainConfig, active: str | None) -> BatchPlan:
    """Return which samples make up each step.

    Parameters
    ----------
    table : TokenTable
        Table of all samples.
    config : TrainConfig
        Options of the stage.
    active : str or None
        Folder of a curriculum, whose active set is trained on; else all samples, once per epoch.
    """
    return BatchPlan(
        _drawn_rows(table, active),
        config.global_batch_size,
        config.pass_tokens,
        config.epochs,
        config.max_steps,
        config.seed,
    )


def _drawn_rows(table: TokenTable, active_folder: str | None) -> NDArray[np.int64]:
    """Return the rows to train on, each as often as the curriculum drew it."""
    if active_folder is None:
        return np.arange(len(table))
    active = read_parquet(Path(active_folder) / "active.parquet", ACTIVE)
    rows = np.fromiter(table.rows_of(active["example_id"].to_pylist()), dtype=np.int64)
    return np.repeat(rows, np.asarray(active["count"]))


def _flops(
    pair: WeakStrongPair, table: TokenTable, plan: BatchPlan, cached_weak: Path | None
) -> int | None:
    """Return the FLOPs of the whole training, or None if its models cannot be counted."""
    try:
        flops = plan_flops(plan, sample_flops(StepCost.of_pair(pair), table))
        if cached_weak is not None:
            drawn = np.unique(np.concatenate([plan.global_batch(s) for s in range(plan.steps)]))
            flops += ModelShape.of_folder(cached_weak).forward_flops(table.lengths[drawn], 0)
    except ConfigError:
        return None
    return flops


def _metrics(
    work: Path, state: TrainState, plan: BatchPlan, ranks: Ranks, config: TrainConfig
) -> dict[str, Any]:
    rows = read_json_lines(work / METRICS_FILE)
    assert [row["step"] for row in rows] == list(range(1, plan.steps + 1))
    return {
        "steps": state.step,
        "samples": plan.samples,
        "tokens": int(state.totals["tokens"]),
        "train_seconds": round(state.totals["seconds"], 3),
        "tokens_per_s": round(state.totals["tokens"] / state.totals["seconds"], 1),
        "first_loss": rows[0]["loss"],
        "last_loss": rows[-1]["loss"],
        "last_strong_loss": rows[-1]["strong_loss"],
        "world_size": ranks.world_size,
        "micro_batch_tokens": config.pass_tokens,
        "gradient_checkpointing": config.gradient_checkpointing,
        "dtype": str(dtype_of(config.precision)),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
    }

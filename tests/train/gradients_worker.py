"""One rank of the parity test: every combination through the real loop, against plain torch.

Arguments: a work folder with the models and the token table, and the file for the results.
"""

from __future__ import annotations

import copy
import hashlib
import json
import sys
from itertools import product
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from wmss_cli.core.config import JointConfig
from wmss_cli.data.batches import BatchPlan
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.causal import load_model
from wmss_cli.stages.training import TableFeed
from wmss_cli.train.engine import build_engine
from wmss_cli.train.export import full_state_dict
from wmss_cli.train.loop import TrainState, train
from wmss_cli.train.pair import WeakStrongPair
from wmss_cli.train.ranks import join

MAX_GRAD_NORM = 0.5
MICRO_BATCH_TOKENS = 27


def reference_step_losses(
    weak: PreTrainedModel,
    strong: PreTrainedModel,
    table: TokenTable,
    plan: BatchPlan,
    config: JointConfig,
) -> list[tuple[float, float]]:
    """Train two models in plain torch, one sample at a time, and return (loss, norm) per step."""
    frozen = config.weak_mode == "frozen"
    weak.requires_grad_(not frozen)
    trained = [p for m in (strong, weak) for p in m.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        eps=config.eps,
    )
    losses = []
    for step in range(plan.steps):
        rows = plan.global_batch(step)
        total = torch.zeros(())
        count = 0
        for row in rows:
            ids = torch.tensor(table.input_ids(int(row)), dtype=torch.long).unsqueeze(0)
            prompt = int(table.prompt_lengths[row])
            mixed = (
                config.mix_lambda * strong(input_ids=ids).logits
                + (1 - config.mix_lambda) * weak(input_ids=ids).logits
            )
            # The logits before a token predict it.
            total = total + F.cross_entropy(
                mixed[0, prompt - 1 : -1], ids[0, prompt:], reduction="sum"
            )
            count += ids.shape[1] - prompt
        loss = total / count
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(trained, MAX_GRAD_NORM)
        optimizer.step()
        losses.append((loss.item(), norm.item()))
    return losses


def fingerprint(state: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(state[name].numpy().tobytes())
    return digest.hexdigest()


def main(work: Path, results_file: Path) -> None:
    ranks = join()
    results = []
    table = TokenTable(work / "tokens")
    for zero_stage, weak_mode, tied in product((0, 1, 2, 3), ("cotrain", "frozen"), (True, False)):
        config = JointConfig(
            learning_rate=1e-3,
            warmup_ratio=0.0,
            min_lr_ratio=1.0,
            global_batch_size=4 * ranks.world_size,
            micro_batch_tokens=MICRO_BATCH_TOKENS,
            weight_decay=0.1,
            # Adam divides rounding noise by noise where a gradient is near zero; this damps it.
            eps=1e-6,
            max_grad_norm=MAX_GRAD_NORM,
            zero_stage=zero_stage,
            weak_mode=weak_mode,
            mix_lambda=0.4,
            max_steps=2,
        )
        rows = torch.arange(len(table)).numpy()
        plan = BatchPlan(rows, config.global_batch_size, MICRO_BATCH_TOKENS, 1.0, 2, seed=0)
        cut = [plan.micro_batches(step, table.lengths, 0, ranks.world_size) for step in range(2)]
        assert all(len(micro_batches) > 1 for micro_batches in cut)
        names = [f"{role}-{'tied' if tied else 'untied'}" for role in ("weak", "strong")]
        weak, strong = (load_model(work / name, "fp32") for name in names)
        plain = copy.deepcopy(weak), copy.deepcopy(strong)
        before = fingerprint(weak.state_dict())
        pair = WeakStrongPair(strong, weak, config.mix_lambda, config.weak_mode)
        engine = build_engine(pair, config)
        feed = TableFeed(table, plan, ranks)
        folder = work / f"run-{ranks.world_size}-{zero_stage}-{weak_mode}-{tied}"
        if ranks.is_first:
            folder.mkdir()
        ranks.barrier()
        train(engine, feed, config, TrainState(), folder, ranks)
        trained = [full_state_dict(model, ranks.is_first) for model in (weak, strong)]
        if ranks.is_first:
            expected = reference_step_losses(*plain, table, plan, config)
            rows_logged = [
                json.loads(x) for x in (folder / "metrics.jsonl").read_text().split("\n")[:-1]
            ]
            differences = [
                max(
                    float((parameter - state[name]).abs().max())
                    for name, parameter in model.named_parameters()
                )
                for model, state in zip(plain, trained, strict=True)
            ]
            moved = max(
                float((p - trained[1][n]).abs().max())
                for n, p in load_model(work / names[1], "fp32").named_parameters()
            )
            full_weak = load_model(work / names[0], "fp32")
            full_weak.load_state_dict(trained[0], strict=not tied)
            results.append(
                {
                    "case": f"zero{zero_stage}-{weak_mode}-{'tied' if tied else 'untied'}",
                    "weak": differences[0],
                    "strong": differences[1],
                    "moved": moved,
                    "weak_unchanged": fingerprint(full_weak.state_dict()) == before,
                    "losses": [row["loss"] for row in rows_logged],
                    "expected_losses": [loss for loss, _ in expected],
                    "norms": [row["grad_norm"] for row in rows_logged],
                    "expected_norms": [norm for _, norm in expected],
                }
            )
        engine.destroy()
    if ranks.is_first:
        results_file.write_text(json.dumps(results))
    ranks.barrier()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""One rank of the parity test: every combination through the real loop, against plain torch.

Arguments: a work folder with the models and the token table, the file for the results, and the
cases: ZERO-MODE-HEAD-OBJECTIVE-RECOMPUTATION. At ZeRO 3 every weight is released, and gathered.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import torch
from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from wmss_cli.core.config import JointConfig
from wmss_cli.data.batches import BatchPlan, collate
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.causal import load_model, load_packed
from wmss_cli.models.packed import packs
from wmss_cli.stages.training import TableFeed
from wmss_cli.train.engine import build_engine, full_state_dict
from wmss_cli.train.keyed_random import Purpose, normal, stream
from wmss_cli.train.loop import TrainState, train
from wmss_cli.train.neftune import embedding_noise
from wmss_cli.train.objectives.table import Loss
from wmss_cli.train.objectives.weak_logits import noise, places
from wmss_cli.train.pair import WeakStrongPair
from wmss_cli.train.ranks import join

MAX_GRAD_NORM = 0.5
MICRO_BATCH_TOKENS = 27


NEFTUNE_ALPHA = 5.0
RELEASED = {"zero_optimization": {"stage3_param_persistence_threshold": 0}}
_WHOLE = (ZeroParamStatus.AVAILABLE, ZeroParamStatus.INFLIGHT)


def plain_loss(
    z: Tensor, other: Tensor, targets: Tensor, keys: Tensor, loss: Loss, step: int
) -> Tensor:
    """Return the sum of the losses of a sample's tokens, by the formulas as written."""
    vocab, seed = z.shape[1], loss.seed
    one_hot = F.one_hot(targets, vocab).float()
    if loss.name == "label_smoothing":
        return F.cross_entropy(z, targets, reduction="sum", label_smoothing=loss.label_smoothing)
    if loss.name == "undial":
        eps = normal(stream(keys, Purpose.UNDIAL, seed, step)).float()
        lowered = z - loss.undial_beta * eps[:, None] * one_hot
        return F.cross_entropy(lowered, targets, reduction="sum")
    if loss.name == "undial_kd":
        q = (other - loss.undial_beta * one_hot).softmax(-1)
        return -(q * z.log_softmax(-1)).sum()
    if loss.name == "shuffled":
        other = other.gather(1, places(keys, seed, vocab))
    if loss.name == "noise":
        spread = other.std(-1, correction=0, keepdim=True)
        other = other.mean(-1, keepdim=True) + spread * noise(keys, seed, vocab)
    mixed = loss.mix_lambda * z + (1 - loss.mix_lambda) * other
    return F.cross_entropy(mixed, targets, reduction="sum")


def reference_step_losses(
    weak: PreTrainedModel,
    strong: PreTrainedModel,
    table: TokenTable,
    plan: BatchPlan,
    config: JointConfig,
    loss: Loss,
    neftune_alpha: float,
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
            alone = collate(table, np.array([row]))
            embedded = strong.get_input_embeddings()(ids)
            if neftune_alpha:
                embedded = embedded + embedding_noise(
                    alone, embedded.shape[-1], neftune_alpha, loss.seed, step
                )
            # The logits before a token predict it.
            z, other = (
                logits[0, prompt - 1 : -1]
                for logits in (strong(inputs_embeds=embedded).logits, weak(input_ids=ids).logits)
            )
            total = total + plain_loss(z, other, ids[0, prompt:], alone.target_keys, loss, step)
            count += ids.shape[1] - prompt
        mean = total / count
        optimizer.zero_grad()
        mean.backward()
        norm = nn.utils.clip_grad_norm_(trained, MAX_GRAD_NORM)
        optimizer.step()
        losses.append((mean.item(), norm.item()))
    return losses


def fingerprint(state: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(state[name].numpy().tobytes())
    return digest.hexdigest()


def main(work: Path, results_file: Path, cases: list[str]) -> None:
    ranks = join()
    results = []
    table = TokenTable(work / "tokens")
    for case in cases:
        stage, weak_mode, head, name, recomputation = case.split("-")
        zero_stage = int(stage.removeprefix("zero"))
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
            gradient_checkpointing=recomputation,
            deepspeed=RELEASED if zero_stage == 3 else {},
            weak_mode=weak_mode,
            mix_lambda=0.4,
            max_steps=2,
        )
        # The second step has one sample: some ranks have nothing to predict.
        rows = torch.arange(config.global_batch_size + 1).numpy()
        plan = BatchPlan(rows, config.global_batch_size, MICRO_BATCH_TOKENS, 1.0, 2, seed=0)
        cut = [plan.micro_batches(step, table.lengths, 0, ranks.world_size) for step in range(2)]
        assert len(cut[0]) > 1
        names = [f"{role}-{head}" for role in ("weak", "strong")]
        plain = tuple(load_model(work / name, "fp32") for name in names)
        weak, strong = (load_packed(work / name, "fp32") for name in names)
        before = fingerprint(weak.state_dict())
        loss = Loss(name, config.mix_lambda, 0.1, 1.0, seed=5)
        # On one of them NEFTune is enough: it does not look at the loss.
        neftune_alpha = NEFTUNE_ALPHA if name == "undial" else 0.0
        has_weak = name not in ("label_smoothing", "undial")
        pair = WeakStrongPair(
            strong,
            weak if has_weak else None,
            config.mix_lambda if has_weak else 1.0,
            config.weak_mode,
            loss=loss,
            neftune_alpha=neftune_alpha,
        )
        engine = build_engine(pair, config)
        padded = not (packs(weak) and packs(strong))
        assert padded == (head == "rows")
        feed = TableFeed(table, plan, ranks, padded=padded)
        if ranks.rank == 1:
            assert not any(len(micro_batch.batch.targets) for micro_batch in feed.micro_batches(1))
        folder = work / f"run-{ranks.world_size}-{case}"
        if ranks.is_first:
            folder.mkdir()
        ranks.barrier()
        train(engine, feed, config, TrainState(), folder, ranks)
        whole = [p for p in pair.parameters() if getattr(p, "ds_status", None) in _WHOLE]
        released = zero_stage == 3 and not whole
        trained = [
            full_state_dict(model, ranks.is_first) if model in (pair.strong, pair.weak) else {}
            for model in (weak, strong)
        ]
        if ranks.is_first:
            expected = reference_step_losses(*plain, table, plan, config, loss, neftune_alpha)
            rows_logged = [
                json.loads(x) for x in (folder / "metrics.jsonl").read_text().split("\n")[:-1]
            ]
            differences = [
                max(
                    float((parameter - state[key]).abs().max())
                    for key, parameter in model.named_parameters()
                )
                if state
                else 0.0
                for model, state in zip(plain, trained, strict=True)
            ]
            moved = max(
                float((p - trained[1][n]).abs().max())
                for n, p in load_model(work / names[1], "fp32").named_parameters()
            )
            full_weak = load_model(work / names[0], "fp32")
            if trained[0]:
                full_weak.load_state_dict(trained[0], strict=False)
            results.append(
                {
                    "case": case,
                    "released": released,
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
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])

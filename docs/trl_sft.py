"""Train with TRL's SFTTrainer on a token table of wmss, to compare with ``wmss sft``.

In an environment of its own, with trl 1.16 and the same torch:

    python docs/trl_sft.py MODEL TOKENS

MODEL is a Hugging Face folder, TOKENS what ``wmss tokenize`` wrote. Prints JSON: input tokens/s of
all steps but the first, and the peak memory of the process.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

ROWS = 4
"""In a step."""


class Clock(TrainerCallback):
    """The moment at which each step ended, and the input tokens until then."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.tokens: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        """Note the tokens."""
        if "num_tokens" in logs:
            self.tokens.append(logs["num_tokens"])


def main(model: Path, tokens: Path) -> None:
    """Train for an epoch and print what it took."""
    table = pa.ipc.open_file(pa.memory_map(str(tokens / "tokens.arrow"))).read_all().to_pylist()
    rows = [
        {
            "input_ids": row["input_ids"],
            "completion_mask": [
                int(i >= row["prompt_length"]) for i in range(len(row["input_ids"]))
            ],
        }
        for row in table
    ]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
            SFTConfig(
                output_dir=folder,
                per_device_train_batch_size=ROWS,
                num_train_epochs=1,
                padding_free=True,
                completion_only_loss=True,
                gradient_checkpointing=False,
                max_length=None,
                learning_rate=1e-5,
                logging_steps=1,
                save_strategy="no",
                report_to=[],
                bf16=False,
                use_cpu=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(model),
            callbacks=[clock],
        )
        trainer.train()
    done = clock.tokens[len(clock.ends) - 1] - clock.tokens[0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    speed = done / (clock.ends[-1] - clock.ends[0])
    print(json.dumps({"tokens_per_s": speed, "peak_memory_gb": peak / 1e9}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

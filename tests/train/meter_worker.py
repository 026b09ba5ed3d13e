"""Measure on several ranks, of which each holds more than the one before: ``MODEL FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from wmss_cli.models.machine import peak_memory_bytes
from wmss_cli.train.meter import Meter
from wmss_cli.train.pair import WeakStrongPair
from wmss_cli.train.ranks import join

if __name__ == "__main__":
    model, folder = Path(sys.argv[1]), Path(sys.argv[2])
    ranks = join()
    pair = WeakStrongPair(AutoModelForCausalLM.from_pretrained(model))
    meter = Meter.start(pair, torch.float32, 5, ranks)
    held = torch.ones(ranks.rank * 2**28, dtype=torch.uint8)
    told = meter.measure(1, 1.0, [7, 3], 6, ranks)
    own = round(peak_memory_bytes(torch.device("cpu")) / 2**30, 3)
    found = {"rate": meter.rate_flops_per_s, "told": told, "own_gb": own}
    (folder / str(ranks.rank)).write_text(json.dumps(found))
    ranks.barrier()

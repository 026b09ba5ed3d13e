"""probe: what the compute nodes of a cluster see; the job of ``wmss doctor``."""

from __future__ import annotations

import os
import shutil
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.files import write_json
from wmss_cli.core.manifest import Manifest
from wmss_cli.evaluate.engine_choice import choose
from wmss_cli.models.causal import device
from wmss_cli.programs.sandbox import reaches
from wmss_cli.stages.probe_config import RANKS_FILE, ProbeConfig
from wmss_cli.train.ranks import Ranks, join

_GPU_MIB, _CPU_MIB = 256, 32
_ROUNDS = 5
# It has a folder for each adapter, with ``ports/1``, ``ports/2``, ….
_ADAPTERS = Path("/sys/class/infiniband")


def run(job: Job) -> Manifest | None:
    """Gather what each rank sees, and time an all-reduce over all ranks.

    Input: ``token``, a file with the text of the configuration. Writes ``ranks.json``, a row for
    each rank.
    """
    config = ProbeConfig.model_validate(job.config)
    ranks = join()
    rows = ranks.gather(_look(config, Path(job.inputs["token"])))
    speed = _all_reduce_gb_per_s(ranks)
    if not ranks.is_first:
        return None
    with open_draft(job) as draft:
        write_json(draft.folder / RANKS_FILE, rows)
        return draft.commit({"ranks": len(rows), "all_reduce_gb_per_s": speed})


def _look(config: ProbeConfig, token: Path) -> dict[str, Any]:
    try:
        read = token.read_text(encoding="utf-8") == config.token
    except OSError:
        read = False
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        "host": os.uname().nodename,
        "node": os.environ.get("SLURMD_NODENAME", ""),
        "local_rank": int(os.environ["LOCAL_RANK"]),
        "python": sys.executable,
        "wmss": metadata.version("wmss"),
        "torch": torch.__version__,
        "gpus": [torch.cuda.get_device_name(i) for i in range(gpus)],
        "adapters": adapters(),
        "ib_hca": os.environ.get("NCCL_IB_HCA", ""),
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        # Importing vLLM takes a while, and the ranks of a node have the same packages.
        "engine": choose("auto", torch.bfloat16) if os.environ["LOCAL_RANK"] == "0" else None,
        "shared_file": read,
        "scontrol": shutil.which("scontrol") is not None,
        "bubblewrap": not reaches("bubblewrap"),
    }


def adapters() -> dict[str, str]:
    """Return the kind of each network port that is up, by its name in ``NCCL_IB_HCA``."""
    found = {}
    for port in sorted(_ADAPTERS.glob("*/ports/*")):
        state, layer, rate = (_line(port / name) for name in ("state", "link_layer", "rate"))
        if state.endswith("ACTIVE"):
            found[f"{port.parent.parent.name}:{port.name}"] = f"{layer} {rate}"
    return found


def _line(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return "?"


def _all_reduce_gb_per_s(ranks: Ranks) -> float:
    """Return the bus bandwidth of an all-reduce, in GB/s, as nccl-tests compute it."""
    mib = _GPU_MIB if torch.cuda.is_available() else _CPU_MIB
    values = torch.ones(mib * 2**20 // 4, device=device())
    dist.all_reduce(values)
    ranks.barrier()
    begin = time.perf_counter()
    for _ in range(_ROUNDS):
        dist.all_reduce(values)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - begin) / _ROUNDS
    factor = 2 * (ranks.world_size - 1) / ranks.world_size
    return round(factor * mib * 2**20 / seconds / 1e9, 3)

"""Forks the real worker: torch, transformers and DeepSpeed are imported once for hundreds of runs.

Each line on stdin is an order, ``{"handover": …, "log": …, "arm": […]}``. A child arms the shim,
joins a session of its own and does what ``python -m wmss_cli.launch.worker HANDOVER`` does. Its
exit code, negative for a signal, is written to stdout as a line.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any

# What libraries print is no answer.
ANSWERS = os.dup(1)
os.dup2(2, 1)

import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: E402, F401
import torch  # noqa: E402, F401
import transformers.models.qwen3.modeling_qwen3  # noqa: E402, F401

from wmss_cli.core.ports import free_port  # noqa: E402
from wmss_cli.launch import worker  # noqa: E402
from wmss_cli.stages import table  # noqa: E402


def child(order: dict[str, Any]) -> None:
    os.setsid()
    os.close(ANSWERS)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.environ["MASTER_PORT"] = str(free_port())
    where, place_log, call, path, nth, fault, group = order["arm"]
    ctypes.CDLL(None).chaos_arm(
        *(str(text).encode() for text in (where, place_log, call, path)),
        int(nth),
        str(fault).encode(),
        int(group),
    )
    worker.leave(worker.main(Path(order["handover"])))


def main() -> None:
    for stage in table.STAGES:
        stage.load()
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    os.environ.update(ranks, TOKENIZERS_PARALLELISM="true")
    os.write(ANSWERS, b"ready\n")
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            child(json.loads(line))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.write(ANSWERS, f"{code}\n".encode())


if __name__ == "__main__":
    main()

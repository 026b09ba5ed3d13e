"""Start a script as several ranks of one process group, and wait for it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path


def run_ranks(
    script: Path,
    arguments: list[str],
    world_size: int,
    timeout_s: float = 300,
    kernels: Path | None = None,
) -> None:
    """Run a Python file on every rank; all must end well.

    With `kernels`, a folder with Triton and others' kernels, these run in Triton's interpreter.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    here = str(Path(__file__).parent)
    processes = []
    for rank in range(world_size):
        environment = {
            **os.environ,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world_size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
            # After it, what this process itself was told to import.
            "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))),
        }
        if kernels is not None:
            environment["PYTHONPATH"] += f"{os.pathsep}{kernels}"
            environment["TRITON_INTERPRET"] = "1"
        processes.append(
            subprocess.Popen(
                [sys.executable, str(script), *arguments],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    try:
        outputs = [process.communicate(timeout=timeout_s)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    codes = [process.returncode for process in processes]
    assert not any(codes), f"exit codes {codes}\n" + "\n".join(text[-4000:] for text in outputs)

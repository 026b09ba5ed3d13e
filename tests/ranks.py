"""Start a script as several ranks of one process group, and wait for it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
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
    with ExitStack() as stack:
        # Not pipes: a rank whose pipe is full while another one's is read would wait for ever.
        outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(world_size)]
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
            command = [sys.executable, str(script), *arguments]
            processes.append(
                subprocess.Popen(
                    command, env=environment, stdout=outputs[rank], stderr=subprocess.STDOUT
                )
            )
        try:
            codes = [process.wait(timeout=timeout_s) for process in processes]
        finally:
            for process in processes:
                process.kill()
        said = []
        for output in outputs:
            output.seek(0)
            said.append(output.read().decode(errors="replace")[-4000:])
    assert not any(codes), f"exit codes {codes}\n" + "\n".join(said)

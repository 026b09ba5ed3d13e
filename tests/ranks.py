"""Start a script as several ranks of one process group, and wait for it."""

from __future__ import annotations

import gc
import multiprocessing
import os
import runpy
import sys
import tempfile
from multiprocessing.process import BaseProcess
from pathlib import Path

from wmss_cli.core.ports import free_port

_FORKS = multiprocessing.get_context("forkserver")
_LIBRARIES = [
    *("deepspeed", "deepspeed.runtime.zero.muon.muon_optimizer", "pandas", "torch"),
    *("transformers.models.qwen3.modeling_qwen3", "wmss_cli.stages.joint_train"),
    *("wmss_cli.stages.score_entropy", "wmss_cli.stages.sft", "wmss_cli.stages.logit_curve"),
]
"""What every rank imports, for seconds: the server does so once, and forks the ranks."""


def rank_environment(rank: int, world_size: int, port: int) -> dict[str, str]:
    """Return the variables that a launcher gives a rank, but for those that all share."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "OMP_NUM_THREADS": 1}
    own = {name: str(value) for name, value in names.items()}
    return own | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def start(
    script: Path, arguments: list[str], environment: dict[str, str], output: Path
) -> BaseProcess:
    """Run a Python file as ``__main__`` in a process that has the large libraries already.

    Its `environment` is added to this process' own. What it says goes to the file `output`.
    """
    _FORKS.set_forkserver_preload(_LIBRARIES)
    given = dict(os.environ) | environment
    process = _FORKS.Process(target=_run, args=(str(script), arguments, given, str(output)))
    process.start()
    return process


def _run(script: str, arguments: list[str], environment: dict[str, str], output: str) -> None:
    # A search for garbage would write to, and so copy, all that the libraries hold.
    gc.freeze()
    # The folder of the server's socket is not this process' own to remove.
    multiprocessing.current_process()._config.pop("tempdir", None)  # type: ignore[attr-defined]
    with Path(output).open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


def run_ranks(script: Path, arguments: list[str], world_size: int, timeout_s: float = 1500) -> None:
    """Run a Python file on every rank; all must end well."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / str(rank) for rank in range(world_size)]
        codes = wait(
            [
                start(script, arguments, rank_environment(rank, world_size, port), output)
                for rank, output in enumerate(outputs)
            ],
            timeout_s,
        )
        said = [output.read_bytes().decode(errors="replace")[-4000:] for output in outputs]
    assert not any(codes), f"exit codes {codes}\n" + "\n".join(said)


def wait(processes: list[BaseProcess], timeout_s: float) -> list[int | None]:
    """Wait for processes and return their exit codes; what does not end in time is killed."""
    try:
        for process in processes:
            process.join(timeout_s)
        codes = [process.exitcode for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert None not in codes, f"not ended within {timeout_s} s: exit codes {codes}"
    return codes

"""Training jobs of tiny models, run by real workers that may be made to fail."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from ranks import rank_environment, start, wait
from table import make_token_table
from tiny import make_tiny_model

from wmss_cli.core.artifact import Job, partial
from wmss_cli.core.config import JointConfig, SftConfig, TrainConfig
from wmss_cli.core.ports import free_port
from wmss_cli.launch.worker import read_error, write_job

_PATIENCE_S = 500


def make_joint_job(work: Path, **options: Any) -> Job:
    """Make a weak and a strong model with dropout, a token table, and the job to train them."""
    return _make_job(work, "joint_train", JointConfig, ("weak", "strong", "tokens"), options)


def make_sft_job(work: Path, **options: Any) -> Job:
    """Make the same models and table, and the job to fine-tune one; the other is its reference."""
    job = _make_job(work, "sft", SftConfig, ("strong", "tokens"), options)
    return replace(job, inputs=job.inputs | {"reference": str(work / "weak")})


def _make_job(
    work: Path,
    stage: str,
    kind: type[TrainConfig],
    roles: tuple[str, ...],
    options: dict[str, Any],
) -> Job:
    for i, role in enumerate(("weak", "strong")):
        make_tiny_model(work / role, seed=i)
        # With dropout a resume that does not restore the random numbers ends elsewhere.
        config = json.loads((work / role / "config.json").read_text())
        config["attention_dropout"] = 0.2
        (work / role / "config.json").write_text(json.dumps(config))
    make_token_table(work / "tokens", work / "weak", [(4, 3 + i % 9) for i in range(44)])
    defaults: dict[str, Any] = {
        "learning_rate": 1e-3,
        "global_batch_size": 4,
        "micro_batch_tokens": 16,
        "save_every_steps": 3,
        "zero_stage": 1,
    }
    section = kind(**(defaults | options))
    return Job(
        stage,
        section.model_dump(mode="json"),
        section.identity(),
        {role: str(work / role) for role in roles},
        str(work / "trained"),
    )


def to(job: Job, out: Path) -> Job:
    """Return the same job with another folder for its result."""
    return replace(job, out=str(out))


def work_folder(job: Job) -> Path:
    return partial(Path(job.out))


def run_workers(
    job: Job, handover: Path, world_size: int = 1, fault: str = "none", count: int = 0
) -> tuple[list[int | None], dict[str, Any] | None]:
    """Run all ranks, the fault in the last one; return exit codes and the reported error."""
    handover.mkdir(parents=True)
    write_job(handover, job)
    port = free_port()
    script = Path(__file__).with_name("faulty_worker.py")
    processes = []
    for rank in range(world_size):
        which = fault if rank == world_size - 1 or fault == "none" else "beside"
        arguments = [str(handover), which, str(count)]
        environment = rank_environment(rank, world_size, port)
        processes.append(start(script, arguments, environment, handover / f"output-{rank}"))
    processes[-1].join(_PATIENCE_S)
    if processes[-1].exitcode == -9:
        # The others wait for the dead one; a launcher ends them.
        for process in processes[:-1]:
            process.kill()
    return wait(processes, _PATIENCE_S), read_error(handover)

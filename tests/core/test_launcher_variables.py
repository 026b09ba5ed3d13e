"""What other launchers leave in a shell."""

from __future__ import annotations

import os

import pytest

from wmss_cli.core.launcher_variables import describes_ranks, forget_launchers, without_launchers

LEFT = {
    **{"OMPI_COMM_WORLD_LOCAL_RANK": "3", "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4"},
    **{"PMI_RANK": "3", "PMIX_RANK": "3", "PMI2_RANK": "1", "MV2_COMM_WORLD_LOCAL_RANK": "3"},
    **{"RANK": "3", "LOCAL_RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"},
    **{"MASTER_ADDR": "elsewhere", "MASTER_PORT": "1", "NODE_RANK": "2", "GROUP_RANK": "2"},
    **{"TORCHELASTIC_RUN_ID": "a", "ACCELERATE_USE_FSDP": "true"},
    **{"FSDP_CPU_RAM_EFFICIENT_LOADING": "true", "ACCELERATE_USE_DEEPSPEED": "true"},
}
KEPT = {
    **{"PATH": "/bin", "SLURM_JOB_ID": "7", "OMPI_MCA_btl": "tcp", "NCCL_DEBUG": "WARN"},
    **{
        "CUDA_VISIBLE_DEVICES": "1",
        "HF_HOME": "/hf",
        "OMP_NUM_THREADS": "2",
        "DS_ACCELERATOR": "cpu",
    },
}


@pytest.mark.parametrize("name", LEFT)
def test_a_word_about_ranks_is_left_out(name: str) -> None:
    assert describes_ranks(name)


def test_everything_else_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert without_launchers(LEFT | KEPT) == KEPT
    for name, value in (LEFT | KEPT).items():
        monkeypatch.setenv(name, value)
    forget_launchers()
    assert not LEFT.keys() & os.environ.keys()
    assert KEPT.items() <= dict(os.environ).items()

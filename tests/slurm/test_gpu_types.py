"""GPUs by the names that sites give them."""

from __future__ import annotations

import pytest

from wmss_cli.preflight.inputs import gpus_of
from wmss_cli.slurm.gpu_types import TYPES, find_type
from wmss_cli.slurm.partitions import Partition, suggest
from wmss_cli.slurm.profile import Profile, Resources, load_profile


@pytest.mark.parametrize(
    ("name", "mem_gb", "tflops"),
    [
        ("h800", 80, 989),
        ("H100", 80, 989),
        ("nvidia_h100_80gb_hbm3", 80, 989),
        ("NVIDIA-H100-PCIe", 80, 756),
        ("h100_nvl", 94, 835),
        ("h200", 141, 989),
        ("gh200", 96, 989),
        ("H20", 96, 148),
        ("a100", 80, 312),
        ("a100_40", 80, 312),
        ("a100-sxm4-40gb", 40, 312),
        ("nvidia_a100_80gb_pcie", 80, 312),
        ("a800", 80, 312),
        ("l40s", 48, 362),
        ("l40", 48, 181),
        ("l4", 24, 121),
        ("rtx4090", 24, 165),
        ("rtx_4090", 24, 165),
        ("geforce_rtx_3090", 24, 71),
        ("rtx_6000_ada", 48, 364),
        ("a10", 24, 125),
        ("a40", 48, 150),
    ],
)
def test_a_known_name(name: str, mem_gb: float, tflops: float) -> None:
    found = find_type(name)
    assert found is not None
    assert (found.mem_gb, found.tflops) == (mem_gb, tflops)


@pytest.mark.parametrize("name", [None, "", "gpu", "v100", "mi300x", "titan", "a1000", "tesla"])
def test_what_is_not_known_is_not_guessed(name: str | None) -> None:
    assert find_type(name) is None


def test_the_shipped_profile_says_the_same() -> None:
    profile = load_profile("h800")
    assert (profile.gpu_mem_gb, profile.gpu_tflops) == TYPES["h800"][:2]


def test_a_profile_of_this_cluster_can_be_planned_with() -> None:
    partition = Partition(
        *("gpu", True, True, None, 4, 64, 500),
        **{"gpus": 8, "gpu_type": "a100"},
    )
    values = suggest([partition])
    assert (values["gpu_mem_gb"], values["gpu_tflops"]) == (80, 312)
    machine = gpus_of(Profile.model_validate(values))
    assert (machine.count, machine.mem_gb, machine.link_gb_per_s) == (8, 80, 300)
    assert machine.assumed[0] == (
        "300 GB/s to the others of its node: the data sheet of a100; gpu_link_gb_per_s of the "
        "profile replace it"
    )
    # What the profile says counts more than the name.
    train = Resources(gpus_per_node=8, gpu_type="a100")
    assert gpus_of(Profile(gpu_mem_gb=40, train=train)).mem_gb == 40
    unknown = suggest([Partition("gpu", True, True, None, 4, 64, 500, 8, "v100")])
    assert unknown["gpu_mem_gb"] is None

"""Fixtures that several test modules share."""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from slurm.fake_slurm import FakeSlurm

# Threads that wait for each other make tiny tensors a hundred times slower on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Nothing that the tests' modules import is garbage; looking for some takes seconds.
gc.disable()


def pytest_collection_finish() -> None:
    """Look for garbage from now on, in what is new."""
    gc.freeze()
    gc.enable()


# A busy machine may take its time for one example.
settings.register_profile("wmss", deadline=None)
settings.load_profile("wmss")


GROUPS = {
    "first cluster": ("slurm/test_pipeline", "slurm/test_jobs"),
    "second cluster": ("slurm/test_training", "slurm/test_faults", "slurm/test_cluster"),
    "ranks": (
        *("train/test_gradients", "train/test_resume", "train/test_memory", "train/test_engine"),
        *("train/test_compile", "train/test_writers", "train/test_checkpoint"),
        *("train/test_meter", "stages/test_logit_curve", "stages/test_weak_states"),
    ),
}
"""Files that one process runs, since they share what takes long to start.

That is a Slurm cluster, or the server from which :mod:`ranks` forks.
"""

# In this order, so that at the end no process waits for another one.
LONGEST = (
    *(name for names in GROUPS.values() for name in names),
    *("chaos/test_chaos", "cli/test_bench", "cli/test_run", "train/test_training"),
    *("launch/test_local", "programs/test_check", "stages/test_curate", "train/test_interpreted"),
    *("programs/test_sandbox", "answers/test_graders", "cli/test_errors", "test_docs"),
    *("programs/test_wrappings",),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files."""
    here = Path(__file__).parent
    place = {here / f"{name}.py": index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Let one process run a file, or all files of a group."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    group_of = {name: group for group, names in GROUPS.items() for name in names}

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            name = file.removeprefix("tests/").removesuffix(".py")
            return group_of.get(name, file)

    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the lists and caches of tests out of the user's folders."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model with random weights; read it, do not change it."""
    # Here, because torch takes seconds to import and many tests do without.
    from tiny import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets, which are never part of the repository.

    It is WMSS_SHARED/data, or ../shared/data beside the repository. Without it the test is
    skipped, or fails where WMSS_REQUIRE_SHARED=1 says that it must be there.
    """
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("WMSS_SHARED", root.parent / "shared")) / "data"
    if not folder.is_dir():
        missing = f"no real data at {folder}; set WMSS_SHARED to the folder that holds data/"
        if os.environ.get("WMSS_REQUIRE_SHARED") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return folder


@pytest.fixture(scope="session")
def kernels_folder() -> Path:
    """Folder with Triton, Liger and Cut Cross-Entropy, for :func:`ranks.run_ranks`.

    tests/install.sh makes it. Without it the test is skipped, or fails where
    WMSS_REQUIRE_KERNELS=1 says that it must be there.
    """
    folder = Path(__file__).resolve().parents[1] / ".kernels"
    if not (folder / "installed.txt").is_file():
        missing = f"no Triton at {folder}; run tests/install.sh where pip finds tests/kernels.txt"
        if os.environ.get("WMSS_REQUIRE_KERNELS") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Give a function that makes a file system of that many bytes (``64k``) and returns its folder.

    Where none can be mounted the test is skipped, or fails where WMSS_REQUIRE_TMPFS=1 says
    that it must be there.
    """
    mounted: list[Path] = []

    def make(size: str) -> Path:
        folder = tmp_path / f"disk-{size}"
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode:
            missing = f"a tmpfs cannot be mounted here ({done.stderr.strip()}); run as root"
            if os.environ.get("WMSS_REQUIRE_TMPFS") == "1":
                pytest.fail(missing)
            pytest.skip(missing)
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        # Lazily: processes that are just ending may still hold their log.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """Put Slurm's commands first on PATH: fakes, whose jobs never run by themselves."""
    from slurm.fake_slurm import FakeSlurm

    fake = FakeSlurm(tmp_path / "cluster")
    monkeypatch.setenv("PATH", str(fake.bin), prepend=os.pathsep)
    # The list of this user's runs.
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SBATCH_")):
            monkeypatch.delenv(name)
    return fake

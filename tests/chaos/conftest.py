"""The shim, built here, and the pipeline that it is let loose on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.runs import Runner, Stage, make_pipeline, run_undisturbed

FULL = os.environ.get("WMSS_CHAOS") == "full"
"""All places instead of a sample of them; ``make test-chaos`` sets it."""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preloaded library; where there is no compiler the tests are skipped."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        if os.environ.get("WMSS_REQUIRE_TMPFS") == "1":
            pytest.fail("no C compiler; install gcc")
        pytest.skip("no C compiler; install gcc")
    built = tmp_path_factory.mktemp("shim") / "shim.so"
    source = Path(__file__).with_name("shim.c")
    build = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*build, "-o", str(built), str(source), "-ldl", "-lpthread"], check=True)
    return built


@pytest.fixture(scope="module")
def runner(shim: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    runner = Runner(shim, tmp_path_factory.mktemp("work"))
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def stages(runner: Runner) -> dict[str, Stage]:
    """All stages of the pipeline, run without a fault, by their labels."""
    return {stage.label: stage for stage in run_undisturbed(runner, make_pipeline(runner.work))}

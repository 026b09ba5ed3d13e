"""Real Slurm clusters; the tests that use one are marked ``slurm`` and ``slow``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from slurm.cluster import PACKAGES, Cluster
from slurm.configuration import search_path, slurm_version

_CLUSTERS = {"cluster", "cluster_without_accounting"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Every item of the session comes by here.
    for item in items:
        if _CLUSTERS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slurm)
            item.add_marker(pytest.mark.slow)
            # A job starts in seconds, or in minutes where the machine is busy.
            item.add_marker(pytest.mark.timeout(1800))


def pytest_report_header() -> str:
    """Say which Slurm the tests run on: that of the programs on PATH."""
    found = shutil.which("slurmctld", path=search_path())
    return f"slurm: {slurm_version() if found else 'not installed'}"


def require_slurm() -> None:
    """Skip where no cluster can be started, or fail where WMSS_REQUIRE_SLURM=1."""
    missing = {
        package
        for program, package in PACKAGES.items()
        if shutil.which(program, path=search_path()) is None
    }
    problem = ""
    if missing:
        problem = f"{', '.join(sorted(missing))} not installed; run tests/install.sh as root"
    elif os.geteuid() != 0:
        problem = "a Slurm cluster is started by root only; run the tests as root"
    if problem and os.environ.get("WMSS_REQUIRE_SLURM") == "1":
        pytest.fail(problem)
    if problem:
        pytest.skip(problem)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Give a cluster with accounting, whose job arrays have at most three tasks."""
    require_slurm()
    with Cluster(max_array_size=3, requeue_wait_s=5) as started:
        yield started


@pytest.fixture(scope="session")
def cluster_without_accounting() -> Iterator[Cluster]:
    """Give a cluster that has no ``sacct``."""
    require_slurm()
    with Cluster(accounting=False) as started:
        yield started


@pytest.fixture(autouse=True)
def _no_job_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """End what a test leaves on its clusters, however it ends: the next ones need the nodes."""
    names = _CLUSTERS.intersection(request.fixturenames)
    clusters: list[Cluster] = [request.getfixturevalue(name) for name in sorted(names)]
    before = [one.active_jobs() for one in clusters]
    yield
    for one, kept in zip(clusters, before, strict=True):
        one.end_jobs(one.active_jobs() - kept)


@pytest.fixture
def on_cluster(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, cluster: Cluster
) -> Cluster:
    """Let everything that the test starts use the cluster, and know of no other runs."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    for name, text in cluster.environment.items():
        monkeypatch.setenv(name, text)
    return cluster


@pytest.fixture
def on_cluster_without_accounting(
    monkeypatch: pytest.MonkeyPatch, cluster_without_accounting: Cluster
) -> Cluster:
    """Let everything that the test starts use the cluster that has no ``sacct``."""
    for name, text in cluster_without_accounting.environment.items():
        monkeypatch.setenv(name, text)
    return cluster_without_accounting

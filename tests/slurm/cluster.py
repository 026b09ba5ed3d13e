"""A real Slurm cluster of two nodes on this machine, for as long as a test needs it.

By hand: ``python tests/slurm/cluster.py`` starts one, prints the line that a shell needs to use it,
and stops it on Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

if __name__ == "__main__":
    # Where the tests' own modules are found, as pytest does.
    sys.path.insert(0, str(Path(__file__).parents[1]))

from slurm.configuration import NODES, configure, search_path, slurm_version

# By the programs that are started here, the Debian packages that bring them.
PACKAGES = {
    "munged": "munge",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "slurmdbd": "slurmdbd",
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "sinfo": "slurm-wlm",
}


class ClusterError(Exception):
    """A daemon or a client command of the cluster failed."""


class Cluster:
    """Two nodes with four CPUs and four fake GPUs each, and partitions ``gpu`` and ``urgent``.

    Everything lies in one temporary folder, with sockets and ports of its own, so that no other
    Slurm on this machine is touched. A job in ``urgent`` preempts one in ``gpu``.

    Parameters
    ----------
    accounting
        Whether there is a database, and so ``sacct``.
    max_array_size
        MaxArraySize: the highest index of a job array, plus one.
    requeue_wait_s
        How long a requeued job waits before it may start again; Slurm's own value is 120.
    kill_wait_s
        From SIGTERM to SIGKILL for a job that is cancelled or has reached its time limit.
    grace_s
        How long a job continues when its nodes are needed by a job in ``urgent``.

    Attributes
    ----------
    version
        The version of Slurm, that of the programs on PATH.
    environment
        What a client needs in its environment.
    """

    def __init__(
        self,
        *,
        accounting: bool = True,
        max_array_size: int = 1001,
        requeue_wait_s: int = 120,
        kill_wait_s: int = 5,
        grace_s: int = 30,
    ) -> None:
        self.accounting = accounting
        self.version = slurm_version()
        self._options = {
            "max_array_size": max_array_size,
            "requeue_wait_s": requeue_wait_s,
            "kill_wait_s": kill_wait_s,
            "grace_s": grace_s,
        }
        self.folder = Path()
        self.environment: dict[str, str] = {}
        # In the order of their start.
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start all daemons and wait until both nodes are idle; leave nothing where one fails."""
        # Not below the folder of pytest: sockets have short names.
        self.folder = Path(tempfile.mkdtemp(prefix="wmss-slurm-"))
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        try:
            # Jobs may run as other users.
            self.folder.chmod(0o755)
            configure(self.folder, self.version, accounting=self.accounting, **self._options)
            self._start_munge()
            if self.accounting:
                self._start_accounting()
            self._start_daemon("slurmctld", "-D", asked=["scontrol", "ping"])
            for node in NODES:
                self._start_daemon("slurmd", "-D", "-N", node, name=f"slurmd-{node}")
            self.wait_idle()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all jobs and daemons, and remove the folder; harmless when called again."""
        if not self.environment:
            return
        controller = self._daemons.get("slurmctld")
        if controller and controller.poll() is None:
            for how in ([], ["--full", "--signal=KILL"]):
                # Whatever it says: the processes of jobs are ended below.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._try("scancel", "--user=root", *how, timeout_s=10)
            _wait(lambda: not list(self._job_processes()), 2)
        # First, because slurmd waits for its jobs.
        self._kill_jobs()
        for process in reversed(self._daemons.values()):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        # What started meanwhile.
        self._kill_jobs()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._daemons, self.environment = {}, {}

    def run(self, *command: str, timeout_s: float = 180) -> str:
        """Run a client command (``squeue``, ``sbatch``, …) and return what it wrote to stdout."""
        done = self._try(*command, timeout_s=timeout_s)
        if done.returncode:
            raise ClusterError(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")
        return done.stdout

    def wait_idle(self, timeout_s: float = 180) -> None:
        """Wait until no job has a part of any node."""

        def idle() -> bool:
            self._check_daemons()
            states = self._try("sinfo", "--noheader", "--Node", "--partition=gpu", "--format=%T")
            return states.stdout.split() == ["idle"] * len(NODES)

        if not _wait(idle, timeout_s):
            nodes = self._try("sinfo", "--Node", "--long").stdout
            raise ClusterError(f"nodes not idle after {timeout_s} s\n{nodes}{self._logs()}")

    def job(self, job_id: str) -> dict[str, str]:
        """Return what ``scontrol show job`` says about a job, by field."""
        shown = self.run("scontrol", "--oneliner", "show", "job", job_id)
        return dict(word.split("=", 1) for word in shown.split() if "=" in word)

    def wait_state(self, job_id: str, *states: str, timeout_s: float = 180) -> str:
        """Wait until the state of a job is one of these, and return it."""
        if not _wait(lambda: self.job(job_id)["JobState"] in states, timeout_s):
            raise ClusterError(f"job not {' or '.join(states)}: {self.job(job_id)}")
        return self.job(job_id)["JobState"]

    def active_jobs(self) -> set[str]:
        """Return the ids of the jobs that wait, run or are ending; an array has one id."""
        return set(self.run("squeue", "--noheader", "--format=%F").split())

    def end_jobs(self, job_ids: set[str], timeout_s: float = 180) -> None:
        """Cancel jobs, and wait until they hold no node."""
        if job_ids:
            self.run("scancel", *sorted(job_ids))
        if not _wait(lambda: not job_ids & self.active_jobs(), timeout_s):
            raise ClusterError(f"not ended after {timeout_s} s: {self.run('squeue')}")

    def _start_munge(self) -> None:
        munge_socket = self.folder / "munge.socket"
        self._start_daemon(
            "munged",
            "--foreground",
            "--force",
            f"--socket={munge_socket}",
            f"--key-file={self.folder}/munge.key",
            f"--pid-file={self.folder}/munged.pid",
            f"--log-file={self.folder}/munged.own.log",
            f"--seed-file={self.folder}/munged.seed",
            listens=munge_socket,
        )

    def _start_accounting(self) -> None:
        database = self.folder / "database"
        database_socket = self.folder / "mariadb.socket"
        self.run(
            "mariadb-install-db",
            "--no-defaults",
            "--user=root",
            f"--datadir={database}",
            # Two clusters that start at once would remove each other's temporary tables.
            f"--tmpdir={self.folder}",
            "--auth-root-authentication-method=socket",
            "--auth-root-socket-user=root",
            "--skip-test-db",
        )
        self._start_daemon(
            "mariadbd",
            "--no-defaults",
            "--user=root",
            f"--datadir={database}",
            f"--tmpdir={self.folder}",
            f"--socket={database_socket}",
            f"--pid-file={self.folder}/mariadbd.pid",
            "--skip-networking",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-log-file-size=8M",
            # With it newer versions of slurmdbd may end where two transactions meet; older
            # versions of MariaDB do not know it.
            "--loose-innodb-snapshot-isolation=OFF",
            listens=database_socket,
        )
        # It cannot be told in slurmdbd.conf; the library that slurmdbd asks with reads it here.
        self._start_daemon(
            "slurmdbd",
            "-D",
            environment={"MYSQL_UNIX_PORT": str(database_socket)},
            asked=["sacctmgr", "list", "cluster"],
        )
        self.run("sacctmgr", "--immediate", "add", "cluster", "wmss")

    def _start_daemon(
        self,
        program: str,
        *arguments: str,
        name: str | None = None,
        environment: dict[str, str] | None = None,
        listens: Path | None = None,
        asked: list[str] | None = None,
    ) -> None:
        """Start a daemon, and wait until its socket listens or a client's command succeeds."""
        name = name or program
        # Where this process is killed, the daemon gets SIGTERM.
        command = ["setpriv", "--pdeathsig", "TERM", program, *arguments]
        with (self.folder / f"{name}.log").open("wb") as log:
            self._daemons[name] = subprocess.Popen(
                command,
                env=self._full_environment() | (environment or {}),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        def answers() -> bool:
            self._check_daemons()
            if listens:
                with socket.socket(socket.AF_UNIX) as probe:
                    return probe.connect_ex(str(listens)) == 0
            return not asked or self._try(*asked).returncode == 0

        if not _wait(answers, 180):
            raise ClusterError(f"{name} does not answer\n{self._logs(name)}")

    def _check_daemons(self) -> None:
        for name, process in self._daemons.items():
            if process.poll() is not None:
                raise ClusterError(f"{name} ended: {process.returncode}\n{self._logs(name)}")

    def _logs(self, *names: str) -> str:
        """Return the ends of the logs of these daemons, or of all."""
        parts = []
        for name in names or self._daemons:
            text = (self.folder / f"{name}.log").read_text(errors="replace")
            parts.append(f"--- {name}\n{text[-2000:]}")
        return "\n".join(parts)

    def _full_environment(self) -> dict[str, str]:
        """Return the environment, without what a job of another Slurm may have left in it."""
        own = {name: text for name, text in os.environ.items() if not name.startswith("SLURM_")}
        return own | self.environment | {"PATH": search_path()}

    def _try(self, *command: str, timeout_s: float = 180) -> subprocess.CompletedProcess[str]:
        """Run a client command, whether or not it succeeds."""
        return subprocess.run(
            command,
            env=self._full_environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def _kill_jobs(self) -> None:
        for pid in self._job_processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _wait(lambda: not list(self._job_processes()), 5)

    def _job_processes(self) -> Iterator[int]:
        """Find the processes of jobs and those that watch them, whoever their parent is now."""
        conf = f"SLURM_CONF={self.environment['SLURM_CONF']}".encode()
        for entry in Path("/proc").iterdir():
            # Processes come and go.
            with contextlib.suppress(OSError):
                if entry.name.isdigit():
                    variables = (entry / "environ").read_bytes().split(b"\0")
                    watches = (entry / "exe").readlink().name.startswith("slurmstepd")
                    in_job = any(name.startswith(b"SLURM_JOB_ID=") for name in variables)
                    if conf in variables and (watches or in_job):
                        yield int(entry.name)


def _wait(happened: Callable[[], bool], timeout_s: float) -> bool:
    end = time.monotonic() + timeout_s
    while not happened():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def main() -> None:
    """Start a cluster, say how to use it, and stop it on Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-accounting", action="store_true")
    parser.add_argument("--max-array-size", type=int, default=1001)
    parser.add_argument("--requeue-wait", type=int, default=120)
    given = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with Cluster(
        accounting=not given.no_accounting,
        max_array_size=given.max_array_size,
        requeue_wait_s=given.requeue_wait,
    ) as cluster:
        print(f"export SLURM_CONF={cluster.environment['SLURM_CONF']}", flush=True)
        ended.wait()


if __name__ == "__main__":
    main()

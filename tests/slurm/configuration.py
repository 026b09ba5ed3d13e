"""The configuration of a small cluster, for the version of Slurm that is on PATH."""

from __future__ import annotations

import os
import random
import socket
import stat
import subprocess
from pathlib import Path

NODES = ("n1", "n2")
GPUS = 4


def search_path() -> str:
    """Return PATH with the folders where Debian keeps daemons."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def slurm_version() -> str:
    """Return the version of the Slurm on PATH, such as ``22.05.8``."""
    # The daemon, because newer clients need a configuration to say it.
    environment = os.environ | {"PATH": search_path()}
    done = subprocess.run(
        ["slurmctld", "-V"], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()[-1]


def configure(folder: Path, version: str, *, accounting: bool, **options: int) -> None:
    """Write all files that the daemons of one cluster read, and make its GPUs.

    Parameters
    ----------
    folder
        Where everything of this cluster lies.
    version
        The version of Slurm.
    accounting
        Whether there is a database.
    options
        Further values of ``slurm.conf.template``.
    """
    host = socket.gethostname().split(".")[0]
    controller_port, database_port, *node_ports = _free_ports(2 + len(NODES))
    nodes = "\n".join(
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 "
        f"RealMemory=8000 Gres=gpu:h800:{GPUS} State=UNKNOWN"
        for node, port in zip(NODES, node_ports, strict=True)
    )
    storage = "AccountingStorageType=accounting_storage/none"
    if accounting:
        # The password means the socket of munge.
        storage = (
            "AccountingStorageType=accounting_storage/slurmdbd\n"
            "AccountingStorageHost=127.0.0.1\n"
            f"AccountingStoragePort={database_port}\n"
            f"AccountingStoragePass={folder}/munge.socket\n"
            "AccountingStorageTRES=gres/gpu"
        )
    values = options | {
        "folder": folder,
        "host": host,
        "controller_port": controller_port,
        "database_port": database_port,
        # A job's id decides on the port of its ranks, and clusters may run side by side.
        "first_job_id": random.randrange(1, 60000),
        "nodes": nodes,
        "accounting": storage,
    }
    files = {
        # A count alone is refused: every GPU needs a file.
        "gres.conf": f"NodeName=n[1-2] Name=gpu Type=h800 File={folder}/gpu[0-{GPUS - 1}]\n",
        "cgroup.conf": _without_cgroups(version, folder),
    }
    for name in ("slurm.conf", "slurmdbd.conf"):
        template = Path(__file__).with_name(f"{name}.template").read_text()
        files[name] = template.format(**values)
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "slurmdbd.conf").chmod(0o600)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    (folder / "state").mkdir()
    for number in range(GPUS):
        # The numbers of /dev/null.
        os.mknod(folder / f"gpu{number}", stat.S_IFCHR | 0o666, os.makedev(1, 3))


def _without_cgroups(version: str, folder: Path) -> str:
    """Keep slurmd from asking for cgroups, which a container may not have."""
    major, minor = (int(part) for part in version.split(".")[:2])
    if (major, minor) >= (23, 11):
        return "CgroupPlugin=disabled\n"
    return f"CgroupPlugin=cgroup/v1\nCgroupMountpoint={folder}/cgroup\n"


def _free_ports(count: int) -> list[int]:
    """Find ports below those that the system gives to clients, who could take them meanwhile."""
    free: list[int] = []
    for port in random.sample(range(10000, 32000), 1000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                free.append(port)
        if len(free) == count:
            return free
    raise OSError("no free ports")

"""Slurm's commands, as :mod:`slurm.fake_slurm` puts them on PATH.

They start some hundred times, so this module imports next to nothing.
"""

# ruff: noqa: PTH123

from __future__ import annotations

import fcntl
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMANDS = ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo", "srun")
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL")

_WAITING = {
    **{"state": "PENDING", "reason": "Priority", "elapsed": "0:00", "left": "1:00:00"},
    **{"start": "N/A", "nodes": "", "exit": "0:0", "elapsed_s": 0, "cpu": "00:00:00", "rss": ""},
    "restarts": 0,
}


class Refused(Exception):  # noqa: N818
    """What a command complains about, word for word."""


class State:
    """The cluster, for as long as its lock is held."""

    def __init__(self, folder: str) -> None:
        self._path = f"{folder}/state"

    def __enter__(self) -> dict[str, Any]:
        self._file = open(self._path, "r+b")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._before = self._file.read()
        self._state: dict[str, Any] = marshal.loads(self._before)
        return self._state

    def __exit__(self, *_: object) -> None:
        now = marshal.dumps(self._state)
        if now != self._before:
            self._file.seek(0)
            self._file.write(now)
            self._file.truncate()
        self._file.close()


def create(folder: str, config: dict[str, str]) -> None:
    """Write the state of a new cluster."""
    empty = {"config": config, "jobs": [], "refusals": {}, "answers": {}, "death": ""}
    empty["partitions"] = ["all*|up|infinite|4|128|1000000|gpu:h800:8(S:0-1)"]
    with open(f"{folder}/state", "wb") as file:
        file.write(marshal.dumps(empty))
    with open(f"{folder}/calls", "w"):
        pass


def main(folder: str, name: str, arguments: list[str]) -> None:
    """Be one of the commands."""
    with open(f"{folder}/calls", "a") as calls:
        calls.write(f"{[name, arguments]!r}\n")
    code = 0
    with State(folder) as state:
        stdout, stderr = "", ""
        if name in state["answers"]:
            stdout, stderr, code = state["answers"][name]
        else:
            try:
                stdout, stderr = _BY_NAME[name](state, arguments)
            except Refused as refused:
                stderr, code = f"{refused}\n", 1
        death = state["death"] if name == "sbatch" else ""
        if death:
            state["death"] = ""
    if death:
        os.kill(os.getppid(), 9)
    sys.stdout.write(stdout)
    sys.stderr.write(stderr)
    sys.exit(code)


def tasks_of(state: dict[str, Any], job_id: str) -> list[dict[str, Any]]:
    """Return a job's tasks, or the one that is named."""
    base, _, index = job_id.partition("_")
    found = [job for job in state["jobs"] if job["id"] == base]
    return [
        task for job in found for i, task in job["tasks"].items() if not index or i in ("", index)
    ]


def end_dependents(state: dict[str, Any]) -> None:
    """Do what Slurm does under --kill-on-invalid-dep: end what can never start."""
    for job in state["jobs"]:
        for condition in job["options"].get("dependency", "").split(","):
            kind, *needs = condition.split(":")
            for need in needs if kind == "afterok" else []:
                ends = [task["state"] for task in tasks_of(state, need)]
                if all(end in ENDED for end in ends) and set(ends) - {"COMPLETED"}:
                    for task in job["tasks"].values():
                        if task["state"] == "PENDING":
                            reason = "DependencyNeverSatisfied"
                            task.update(state="CANCELLED", reason=reason)


def _sbatch(state: dict[str, Any], arguments: list[str]) -> tuple[str, str]:
    with open(arguments[-1], encoding="utf-8") as file:
        script = file.read()
    options = _options(script)
    for text, complaint in state["refusals"].items():
        if text in options["job-name"]:
            last = "allocation failure" if "--test-only" in arguments else _FAILED
            raise Refused(f"sbatch: error: {complaint}\n{last}: {complaint}")
    if _count(options) > int(state["config"]["MaxArraySize"]):
        raise Refused(f"{_FAILED}: Invalid job array specification")
    if "--test-only" in arguments:
        where = "2026-11-24T19:37:33 using 1 processors on nodes n1 in partition cpu"
        return "", f"sbatch: Job {len(state['jobs']) + 1} to start at {where}\n"
    for condition in options.get("dependency", "").split(","):
        for need in condition.split(":")[1:]:
            # Slurm itself would take it for fulfilled, which wmss must not build upon.
            if not tasks_of(state, need):
                raise Refused(f"{_FAILED}: Job dependency problem")
    if state["death"] == "before":
        return "", ""
    return f"Submitted batch job {add(state, script)}\n", ""


def add(state: dict[str, Any], script: str) -> str:
    """Put a job in the queue, and return its id."""
    options = _options(script)
    waiting = _WAITING | ({"reason": "Dependency"} if "dependency" in options else {})
    indices = [str(i) for i in range(_count(options))] or [""]
    job = {"id": str(len(state["jobs"]) + 1), "name": options["job-name"], "options": options}
    job |= {"limit": options.get("array", "").partition("%")[2], "script": script}
    job |= {"environment": dict(os.environ), "tasks": {index: dict(waiting) for index in indices}}
    state["jobs"].append(job)
    return job["id"]


def _options(script: str) -> dict[str, str]:
    options = {}
    for line in script.split("\n"):
        if line.startswith("#SBATCH "):
            for word in _words(line.removeprefix("#SBATCH ")):
                key, _, value = word.removeprefix("--").partition("=")
                options[key] = value
    return options


def _count(options: dict[str, str]) -> int:
    """Return how many tasks an array has; 0 is no array."""
    array = options.get("array", "").partition("%")[0]
    return int(array.removeprefix("0-")) + 1 if array else 0


def _words(line: str) -> list[str]:
    if "'" not in line:
        return line.split()
    # Here, because it takes as long to import as all else.
    import shlex

    return shlex.split(line)


_FAILED = "sbatch: error: Batch job submission failed"


def _squeue(state: dict[str, Any], arguments: list[str]) -> tuple[str, str]:
    given = dict(argument.partition("=")[::2] for argument in arguments)
    known = {"--me", "--all", "--noheader", "--states", "--format"}
    if set(given) != known or given["--states"] != "all":
        raise Refused(f"squeue: error: what is {arguments}?")
    lines = []
    for job in state["jobs"]:
        for ids, task in _lines(job):
            if not task.get("forgotten"):
                fields = {"%i": ids, "%j": job["name"], "%T": task["state"], "%r": task["reason"]}
                fields |= {"%M": task["elapsed"], "%L": task["left"], "%S": task["start"]}
                fields |= {"%N": task["nodes"]}
                lines.append("|".join(fields[letter] for letter in given["--format"].split("|")))
    return "".join(line + "\n" for line in lines), ""


def _lines(job: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return ids and fields of what is printed: tasks that wait share a line."""
    lines = [
        (job["id"] + (f"_{index}" if index else ""), task)
        for index, task in job["tasks"].items()
        if not index or task["state"] != "PENDING"
    ]
    waiting = [int(i) for i, task in job["tasks"].items() if i and task["state"] == "PENDING"]
    if waiting:
        text = ",".join(_ranges(waiting))
        if os.environ.get("SLURM_BITSTR_LEN") != "0" and len(text) > 64:
            text = text[:60] + "..."
        limit = f"%{job['limit']}" if job["limit"] else ""
        lines.append((f"{job['id']}_[{text}{limit}]", job["tasks"][str(waiting[0])]))
    return lines


def _ranges(numbers: list[int]) -> list[str]:
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return [f"{first}-{last}" if last > first else str(first) for first, last in ranges]


_SACCT = {"--noheader", "--parsable2", "--duplicates", "--format", "--jobs", "--starttime"}


def _sacct(state: dict[str, Any], arguments: list[str]) -> tuple[str, str]:
    if not state["config"]["AccountingStorageType"].endswith("slurmdbd"):
        raise Refused("Slurm accounting storage is disabled")
    given = dict(argument.partition("=")[::2] for argument in arguments)
    if set(given) != _SACCT:
        raise Refused(f"sacct: error: what is {arguments}?")
    lines = []
    for job in state["jobs"]:
        if job["id"] not in given["--jobs"].split(","):
            continue
        nodes, cpus = (int(job["options"].get(k, "1")) for k in ("nodes", "cpus-per-task"))
        gpus = job["options"].get("gres", "").rpartition(":")[2]
        held = f"gres/gpu:h800={nodes * int(gpus)},gres/gpu={nodes * int(gpus)}," if gpus else ""
        for ids, task in _lines(job):
            seconds = task["elapsed_s"]
            fields = {"JobID": ids, "State": task["state"], "ExitCode": task["exit"]}
            fields |= {"ElapsedRaw": str(seconds), "TotalCPU": task["cpu"], "MaxRSS": ""}
            fields |= {"CPUTimeRAW": str(seconds * cpus), "ReqMem": "4G", "End": "Unknown"}
            tres = f"billing={cpus},cpu={cpus},{held}mem={4 * nodes}G,node={nodes}"
            fields |= {"AllocTRES": tres if seconds else "", "Reason": task["reason"]}
            step = dict.fromkeys(fields, "") | {"JobID": f"{ids}.batch", "MaxRSS": task["rss"]}
            for row in (fields, step) if seconds else (fields,):
                lines.append("|".join(row[name] for name in given["--format"].split(",")))
    return "".join(line + "\n" for line in lines), ""


def _scontrol(state: dict[str, Any], arguments: list[str]) -> tuple[str, str]:
    match arguments:
        case ["show", "config"]:
            rows = [f"{name:<24}= {value}" for name, value in state["config"].items()]
            return "\n".join(["Configuration data as of 2026-11-24T16:37:33", *rows, ""]), ""
        case ["show", "job", job_id, "--oneliner"]:
            tasks = tasks_of(state, job_id)
            if not tasks:
                raise Refused("slurm_load_jobs error: Invalid job id specified")
            found = f"JobState={tasks[0]['state']} Reason={tasks[0]['reason']} Dependency=(null)"
            restarts = f"Requeue=1 Restarts={tasks[0]['restarts']} BatchFlag=1"
            preempted = f"PreemptTime={tasks[0].get('preempted', 'None')}"
            return f"JobId={job_id} JobName=wmss {found} {restarts} {preempted}\n", ""
        case ["requeue", job_id]:
            for task in tasks_of(state, job_id):
                task.update(state="PENDING", reason="BeginTime", restarts=task["restarts"] + 1)
            return "", ""
    raise Refused(f"scontrol: error: what is {arguments}?")


def _scancel(state: dict[str, Any], arguments: list[str]) -> tuple[str, str]:
    for job_id in arguments:
        for task in tasks_of(state, job_id):
            if task["state"] not in ENDED:
                task["state"] = "CANCELLED"
    return "", ""


def _sinfo(state: dict[str, Any], arguments: list[str]) -> tuple[str, str]:
    if arguments != ["--noheader", "--all", "--format=%P|%a|%l|%D|%c|%m|%G"]:
        raise Refused(f"sinfo: error: what is {arguments}?")
    return "".join(line + "\n" for line in state["partitions"]), ""


def _srun(_state: dict[str, Any], arguments: list[str]) -> tuple[str, str]:
    raise Refused(f"srun: error: no job runs here: {arguments}")


_BY_NAME = {
    **{"sbatch": _sbatch, "squeue": _squeue, "sacct": _sacct},
    **{"scontrol": _scontrol, "scancel": _scancel, "sinfo": _sinfo, "srun": _srun},
}

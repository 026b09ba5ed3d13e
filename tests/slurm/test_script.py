"""The script of a job: what it asks for, that nothing in it runs by accident, and no secrets."""

from __future__ import annotations

import os
import pickle
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from slurm.fake_slurm import FakeSlurm, stage_of
from slurm.plans import group, send_plan, small_plan, training_plan
from slurm.test_profile import shipped

from wmss_cli.core.errors import SlurmError
from wmss_cli.slurm import script
from wmss_cli.slurm.chain import Link, chain
from wmss_cli.slurm.profile import Profile, Resources, load_profile
from wmss_cli.slurm.task import SlurmTask

EVIL = """it's "quoted" $(touch evil) `touch evil`; touch evil && $HOME \\ ä"""


def link(folder: Path, stage: str, profile: Profile) -> Link:
    steps = [*small_plan(folder), *training_plan(folder)[1:]]
    return next(link for link in chain([group(steps, profile)]) if stage_of(link.name) == stage)


def text_of(folder: Path, stage: str = "sft", profile: Profile | None = None) -> str:
    return script.render(link(folder, stage, profile or Profile()), folder / "jobs", 1, None)


def options(text: str) -> dict[str, str]:
    """Read the options of a script as sbatch does."""
    found = {}
    for line in text.split("\n"):
        if line.startswith("#SBATCH "):
            (option,) = shlex.split(line.removeprefix("#SBATCH "))
            key, _, value = option.removeprefix("--").partition("=")
            found[key] = value
    return found


def setup(text: str) -> str:
    """Return what a script does before srun."""
    return text.split("# setup\n")[1].split("# command\n")[0]


def bash(text: str, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", *flags, "-c", text], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", shipped())
def test_what_ships_makes_scripts_that_bash_can_read(tmp_path: Path, name: str) -> None:
    profile = load_profile(name)
    for stage in ("curate", "score.0-2", "score.merge", "sft"):
        text = text_of(tmp_path, stage, profile)
        done = bash(text, tmp_path, "-n")
        assert (done.returncode, done.stderr) == (0, "")
        assert "None" not in "".join(options(text).values())


def test_a_job_gets_what_the_profile_says(tmp_path: Path) -> None:
    profile = Profile(
        **{"account": "lab", "partition": "gpu", "qos": "high", "constraint": "ib"},
        **{"reservation": "r1", "nodelist": "n[1-2]", "exclude": "n3", "comment": "a run"},
        **{"mail_type": "FAIL,END", "mail_user": "me@lab"},
        sbatch={"licenses": "fs@2", "nice": 100, "spread-job": True, "overcommit": False},
        train=Resources(
            **{"nodes": 2, "tasks_per_node": 8, "gpus_per_node": 8, "gpu_type": "h800"},
            **{"cpus_per_task": 12, "mem_gb": 0, "exclusive": True},
            **{"time_limit_min": 1440, "signal_lead_s": 600},
        ),
    )
    found = options(text_of(tmp_path, "sft", profile))
    assert found.pop("job-name").startswith("wmss-sft-")
    assert Path(found.pop("output")) == tmp_path / "jobs" / "%j_0_log.out"
    assert found == {
        **{"account": "lab", "partition": "gpu", "qos": "high", "constraint": "ib"},
        **{"reservation": "r1", "nodelist": "n[1-2]", "exclude": "n3", "comment": "a run"},
        **{"mail-type": "FAIL,END", "mail-user": "me@lab", "licenses": "fs@2", "nice": "100"},
        **{"spread-job": "", "nodes": "2", "ntasks-per-node": "8", "gres": "gpu:h800:8"},
        **{"cpus-per-task": "12", "mem": "0", "exclusive": "", "time": "1440"},
        **{"signal": "USR2@600", "requeue": "", "kill-on-invalid-dep": "yes"},
        "open-mode": "append",
    }


def test_what_is_not_set_is_left_to_the_cluster(tmp_path: Path) -> None:
    assert set(options(text_of(tmp_path))) == {
        *("job-name", "nodes", "ntasks-per-node", "cpus-per-task", "time", "signal", "output"),
        *("open-mode", "requeue", "kill-on-invalid-dep"),
    }


def test_a_section_may_have_a_partition_of_its_own(tmp_path: Path) -> None:
    profile = Profile(partition="gpu", cpu=Resources(partition="cpu", mem_gb=8))
    assert options(text_of(tmp_path, "curate", profile))["partition"] == "cpu"
    assert options(text_of(tmp_path, "curate", profile))["mem"] == "8G"
    assert options(text_of(tmp_path, "sft", profile))["partition"] == "gpu"


def test_an_array_has_a_limit_and_a_log_for_each_task(tmp_path: Path) -> None:
    profile = Profile(score=Resources(gpus_per_node=1), array_limit=2)
    scored = link(tmp_path, "score.0-2", profile)
    text = script.render(scored, tmp_path / "jobs", 3, "afterok:7")
    found = options(text)
    assert (found["array"], found["gres"], found["dependency"]) == ("0-2%2", "gpu:1", "afterok:7")
    assert Path(found["output"]).name == "%A_%a_0_log.out"
    assert f"--output {tmp_path}/jobs/%A_%a_%t_log.out" in text


def test_the_setup_stops_at_the_first_error_and_keeps_others_out(tmp_path: Path) -> None:
    profile = Profile(setup=["false", "touch went-on"])
    lines = setup(text_of(tmp_path, profile=profile)).splitlines()
    assert lines[:2] == ["set -euo pipefail", "umask 077"]
    assert bash("\n".join(lines), tmp_path).returncode == 1
    assert bash("\n".join(lines).replace("false", "false | true"), tmp_path).returncode == 1
    assert bash("\n".join(lines).replace("false", 'echo "$NO_SUCH"'), tmp_path).returncode != 0
    assert not (tmp_path / "went-on").exists()
    # The same lines without the error come to their end.
    assert bash("\n".join(lines).replace("false", "true"), tmp_path).returncode == 0
    assert (tmp_path / "went-on").stat().st_mode & 0o777 == 0o600


def test_srun_gives_each_process_its_cores_and_ends_all_with_one(tmp_path: Path) -> None:
    text = text_of(tmp_path, profile=Profile(srun=["--container-image=a b"]))
    # srun reads this since Slurm 22.05, and not sbatch's option.
    done = bash(f'{setup(text)}\necho "$SRUN_CPUS_PER_TASK"', tmp_path)
    assert done.stdout == "1\n"
    (command,) = [line for line in text.splitlines() if line.startswith("srun ")]
    words = shlex.split(command)
    assert {"--kill-on-bad-exit=1", "--container-image=a b"} <= set(words)
    assert words[words.index("-m") - 2] == sys.executable


def srun_options(folder: Path, profile: Profile) -> list[str]:
    text = text_of(folder, profile=profile)
    (command,) = [line for line in text.splitlines() if line.startswith("srun ")]
    return shlex.split(command)


def test_ranks_that_follow_each_other_share_a_socket_unless_the_profile_says_otherwise(
    tmp_path: Path,
) -> None:
    own = "--distribution=block:block"
    words = srun_options(tmp_path, Profile(srun=["--distribution=cyclic"]))
    # srun takes the last one.
    assert words.index(own) < words.index("--distribution=cyclic")
    assert own in srun_options(tmp_path, Profile())
    # What sbatch is told reaches srun, if nothing is in its way.
    profile = Profile(sbatch={"distribution": "cyclic"})
    assert own not in srun_options(tmp_path, profile)
    assert options(text_of(tmp_path, profile=profile))["distribution"] == "cyclic"


def test_python_may_be_a_command_of_a_container(tmp_path: Path) -> None:
    text = text_of(tmp_path, profile=Profile(python="singularity exec a.sif python3"))
    assert " singularity exec a.sif python3 -u -m submitit.core._submit " in text


def test_texts_of_the_profile_are_inert(tmp_path: Path) -> None:
    places: dict[str, Any] = dict.fromkeys(
        ("account", "partition", "qos", "constraint", "comment", "reservation", "mail_user"), EVIL
    )
    profile = Profile(
        **places,
        sbatch={"licenses": EVIL},
        # Variables and ~ are refused there, since a job would get them as they are written.
        environment={"A": EVIL.replace("$", ""), "B": "two words", "C": ""},
        srun=[f"--x={EVIL}"],
        train=Resources(gpus_per_node=1, gpu_type=EVIL),
    )
    text = text_of(tmp_path, profile=profile)
    assert options(text)["comment"] == options(text)["licenses"] == EVIL
    assert bash(text, tmp_path, "-n").stderr == ""
    show = 'printf "%s\\n" "$A" "$B" "$C"\nsrun() { printf "%s\\n" "$@"; }'
    done = bash(text.replace("# command\n", f"{show}\n"), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    shown = done.stdout.splitlines()
    assert shown[:3] == [EVIL.replace("$", ""), "two words", ""]
    assert f"--x={EVIL}" in shown
    assert not (tmp_path / "evil").exists()


def test_a_folder_with_any_name_is_inert(tmp_path: Path) -> None:
    folder = tmp_path / "a b $(touch evil) 'c'"
    folder.mkdir()
    text = text_of(folder)
    assert options(text)["output"] == str(folder / "jobs" / "%j_0_log.out")
    done = bash('srun() { printf "%s\\n" "$@"; }\n' + text, tmp_path)
    assert done.stdout.splitlines()[-1] == str(folder / "jobs")
    assert not (tmp_path / "evil").exists()


def files_of(run: Path) -> dict[str, bytes]:
    """Return everything that was written for a run."""
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file()}


def test_what_is_shown_is_what_is_sent(tmp_path: Path, slurm: FakeSlurm) -> None:
    profile = Profile(comment=EVIL, score=Resources(gpus_per_node=1))
    steps = small_plan(tmp_path)
    send_plan(steps, tmp_path, profile)
    for made in chain([group(steps, profile)]):
        job = slurm.last(stage_of(made.name))
        folder = tmp_path / "run" / "slurm" / made.name
        dependency = job["options"].get("dependency")
        assert job["script"] == script.render(made, folder, len(made.jobs), dependency)


def test_no_secret_of_the_shell_is_written_anywhere(
    tmp_path: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "WANDB_API_KEY"):
        monkeypatch.setenv(name, "hush-hush")
    send_plan(small_plan(tmp_path), tmp_path)
    written = files_of(tmp_path / "run")
    assert {"plan.json", "ledger.jsonl"} <= {Path(name).name for name in written}
    assert {Path(name).suffix for name in written} >= {".pkl", ".json", ".sh"}
    assert [name for name, content in written.items() if b"hush" in content] == []
    assert all("hush" not in job["script"] for job in slurm.jobs())
    # A job has them by inheritance.
    assert slurm.jobs()[0]["environment"]["HF_TOKEN"] == "hush-hush"


def test_what_an_outer_job_or_sbatch_has_set_is_left_behind(
    tmp_path: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = {
        **{"SBATCH_PARTITION": "x", "SBATCH_EXPORT": "NONE", "SLURM_JOB_ID": "9"},
        **{"SLURM_ARRAY_TASK_ID": "3", "SRUN_CPUS_PER_TASK": "4", "SALLOC_ACCOUNT": "x"},
        **{"PMI_RANK": "1", "SUBMITIT_EXECUTOR": "slurm", "RANK": "1", "MASTER_ADDR": "n1"},
        **{"SQUEUE_PARTITION": "x", "SACCT_FORMAT": "x", "SCANCEL_STATE": "R", "SINFO_ALL": "1"},
    }
    kept = {"SLURM_CONF": "/etc/slurm/other.conf", "NCCL_DEBUG": "INFO"}
    for name, value in (dropped | kept).items():
        monkeypatch.setenv(name, value)
    said: list[str] = []
    send_plan(small_plan(tmp_path), tmp_path, say=said.append)
    for job in slurm.jobs():
        assert dropped.keys().isdisjoint(job["environment"])
        assert kept.items() <= job["environment"].items()
    assert os.environ["SBATCH_PARTITION"] == "x", "this process has them still"
    assert said == [
        "SBATCH_EXPORT is not used: jobs are sent as the profile says",
        "SBATCH_PARTITION is not used: jobs are sent as the profile says",
    ]


def test_a_pickle_contains_only_the_path_of_an_order(tmp_path: Path, slurm: FakeSlurm) -> None:
    send_plan(small_plan(tmp_path), tmp_path)
    pickles = sorted((tmp_path / "run").rglob("*.pkl"))
    assert len(pickles) == sum(len(job["tasks"]) for job in slurm.jobs()) == 6
    for path in pickles:
        assert path.stat().st_size < 2000
        with path.open("rb") as file:
            task = pickle.load(file).function
        assert type(task) is SlurmTask
        assert vars(task) == {"order": task.order}
        order = Path(task.order)
        assert (type(task.order), order.parent, order.suffix) == (str, path.parent, ".json")


def test_the_verdict_of_slurm(tmp_path: Path, slurm: FakeSlurm) -> None:
    text = text_of(tmp_path)
    verdict = "would start at 2026-11-24T19:37:33 using 1 processors on nodes n1 in partition cpu"
    assert script.test_only(text) == verdict
    # The jobs that it waits for are not there yet.
    waits = script.render(link(tmp_path, "sft", Profile()), tmp_path, 1, "afterok:A")
    assert script.test_only(waits) == verdict
    slurm.refuse("sft", "invalid partition specified: nowhere")
    with pytest.raises(SlurmError) as caught:
        script.test_only(text)
    assert str(caught.value) == (
        "sbatch: invalid partition specified: nowhere; "
        "allocation failure: invalid partition specified: nowhere"
    )
    assert slurm.jobs() == []


def test_the_verdict_is_on_the_very_script(tmp_path: Path, slurm: FakeSlurm) -> None:
    # Python would break lines here, Slurm would not.
    profile = Profile(comment="a\u2028#SBATCH --job-name=other\x85b")
    slurm.refuse("other", "not this one")
    assert script.test_only(text_of(tmp_path, profile=profile)).startswith("would start")


def test_a_script_can_be_shown_where_there_is_no_slurm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "srun --unbuffered" in text_of(tmp_path)

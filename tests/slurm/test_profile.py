"""Profiles: what ships loads, what is stronger wins, and what is wrong is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from wmss_cli.core.errors import ConfigError
from wmss_cli.core.paths import packaged
from wmss_cli.slurm.profile import Profile, Resources, change_profile, find_profile, load_profile


def shipped() -> list[str]:
    """Return every profile that ships with wmss, and every variant of it."""
    found = []
    for path in sorted(packaged("slurm_templates").glob("*.yaml")):
        variants = yaml.safe_load(path.read_text()).get("variants") or {}
        found += [path.stem, *(f"{path.stem}:{variant}" for variant in variants)]
    return found


def write(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def refusal(folder: Path, text: str, variant: str = "") -> str:
    """Return the line about a profile, without the folder it is in."""
    with pytest.raises(ConfigError) as caught:
        load_profile(write(folder, text) + variant)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{folder}/", "")


@pytest.mark.parametrize("name", shipped())
def test_what_ships_loads(name: str) -> None:
    profile = load_profile(name)
    for resources in (profile.train, profile.score, profile.eval, profile.cpu):
        # It follows from the checkpoint.
        assert resources.signal_lead_s is None
    assert profile.cpu.gpus == 0
    if name != "cpu":
        assert profile.train.gpus == profile.train.tasks


def test_a_variant_beats_the_file_and_an_assignment_beats_both(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "account: base\nqos: base\npartition: base\n"
        "train: {nodes: 1, time_limit_min: 30, cpus_per_task: 2}\n"
        "variants: {big: {qos: big, partition: big, train: {nodes: 2, time_limit_min: 60}}}\n",
    )
    changes = ("partition=mine", "train.time_limit_min=90")
    profile = load_profile(f"{path}:big", changes)
    assert (profile.account, profile.qos, profile.partition) == ("base", "big", "mine")
    assert profile.train == Resources(nodes=2, time_limit_min=90, cpus_per_task=2)
    assert load_profile(path).train.nodes == 1


def test_an_assignment_takes_a_whole_section(tmp_path: Path) -> None:
    path = write(tmp_path, "train: {nodes: 4, cpus_per_task: 2}\n")
    profile = load_profile(path, ("train={nodes: 2, gpus_per_node: 8}", "setup=[module load x]"))
    assert profile.train == Resources(nodes=2, cpus_per_task=2, gpus_per_node=8)
    assert profile.setup == ["module load x"]


def test_a_runs_profile_is_changed_and_checked_like_a_file() -> None:
    profile = load_profile("cpu", ("account=me",))
    changed = change_profile(profile, ("train.time_limit_min=120",))
    assert (changed.account, changed.train.time_limit_min) == ("me", 120)
    assert change_profile(changed, ("train.time_limit_min=60",)) == profile
    with pytest.raises(ConfigError, match=r"--slurm train.node: .*did you mean train.nodes\?"):
        change_profile(profile, ("train.node=2",))


def test_a_missing_profile_lists_those_that_ship() -> None:
    names = ", ".join(sorted(path.stem for path in packaged("slurm_templates").glob("*.yaml")))
    message = rf"--profile h900: there are {names}; or the path of a YAML file "
    with pytest.raises(ConfigError, match=message):
        load_profile("h900:8b")


def test_a_missing_file_is_no_shipped_profile(tmp_path: Path) -> None:
    assert find_profile("here/cpu.yaml") == Path("here/cpu.yaml")
    with pytest.raises(ConfigError, match=r"cpu\.yaml: no such profile"):
        load_profile(str(tmp_path / "cpu.yaml"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("acount: me\n", "mine.yaml:1: unknown key acount; did you mean account?"),
        (
            "train:\n  nodes: 1\n  gpus_node: 8\n",
            "mine.yaml:3: unknown key train.gpus_node; did you mean train.gpus_per_node?",
        ),
        ("train: {nodes: 0}\n", "mine.yaml:1: train.nodes: input should be greater than or eq"),
        ("train: {nodes: '2'}\n", "mine.yaml:1: train.nodes: input should be a valid integer"),
        ("requeue: never\n", "mine.yaml:1: requeue: input should be 'scontrol' or 'chain'"),
        ("train: {time_limit_min: 1}\n", "mine.yaml:1: train.time_limit_min: input should be gre"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_line(tmp_path: Path, text: str, line: str) -> None:
    assert refusal(tmp_path, text).startswith(line)


def test_more_processes_than_gpus_are_refused(tmp_path: Path) -> None:
    text = "account: me\ntrain:\n  tasks_per_node: 8\n  gpus_per_node: 4\n"
    assert refusal(tmp_path, text) == (
        "mine.yaml:3: train: tasks_per_node 8 is more than gpus_per_node 4: "
        "each process needs a GPU"
    )
    # Without GPUs there may be as many as there are cores.
    assert load_profile(write(tmp_path, "train: {tasks_per_node: 8}\n")).train.tasks == 8


def test_the_signal_must_come_before_the_limit(tmp_path: Path) -> None:
    text = "score:\n  time_limit_min: 10\n  signal_lead_s: 600\n"
    assert refusal(tmp_path, text).startswith(
        "mine.yaml:3: score: signal_lead_s 600 leaves no time to work: the limit is 10 min, and "
    )
    assert "no time to work" in refusal(tmp_path, text.replace("600", "541"))
    assert load_profile(write(tmp_path, text.replace("600", "540"))).score.signal_lead_s == 540
    assert "greater than or equal to 60" in refusal(tmp_path, "score: {signal_lead_s: 59}\n")


def test_a_missing_variant_names_those_that_exist(tmp_path: Path) -> None:
    text = "variants: {4b: {account: a}, 8b: {account: b}}\n"
    assert refusal(tmp_path, text, ":9b") == "mine.yaml: no variant '9b'; there are 4b, 8b"
    assert refusal(tmp_path, "account: a\n", ":9b") == "mine.yaml: no variant '9b'; it has none"


def test_a_wrong_variant_is_named_with_its_line(tmp_path: Path) -> None:
    text = "account: a\nvariants:\n  8b: {trian: {nodes: 2}}\n"
    assert refusal(tmp_path, text, ":8b") == (
        "mine.yaml:2 8b: unknown key trian; did you mean train?"
    )
    for broken in ("null", "8", "[nodes]"):
        said = refusal(tmp_path, f"variants: {{8b: {broken}}}\n", ":8b")
        assert said.startswith("mine.yaml:1 8b: "), said


OWNED = (
    "array",
    "chdir",
    "comment",
    "dependency",
    "error",
    "export",
    "gres",
    "job-name",
    "kill-on-invalid-dep",
    "mem",
    "no-requeue",
    "nodes",
    "ntasks-per-node",
    "output",
    "parsable",
    "partition",
    "requeue",
    "signal",
    "time",
    "wrap",
)


@pytest.mark.parametrize("option", OWNED)
def test_options_that_wmss_sets_are_refused(tmp_path: Path, option: str) -> None:
    said = refusal(tmp_path, f"sbatch:\n  {option}: x\n")
    assert said.startswith(f"mine.yaml:1: sbatch: {option} is set by wmss itself; use the profile")


@pytest.mark.parametrize(
    "key",
    ["Licenses", "LICENSES", "--licenses", "cpus_per_gpu", "a b", "a=b", "a;b", "-l", "ä", "", "7"],
)
def test_options_that_are_no_long_names_are_refused(tmp_path: Path, key: str) -> None:
    said = refusal(tmp_path, f"sbatch: {{'{key}': x}}\n")
    assert said.startswith(f"mine.yaml:1: sbatch: {key!r} is not a long option of sbatch"), said


def test_other_options_are_taken(tmp_path: Path) -> None:
    text = "sbatch: {licenses: fs@2, nice: 100, spread-job: true, overcommit: false}\n"
    options = {"licenses": "fs@2", "nice": 100, "spread-job": True, "overcommit": False}
    assert load_profile(write(tmp_path, text)).sbatch == options


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (r'comment: "a\nb"', "comment"),
        (r'account: "a\0b"', "account"),
        (r'partition: "a\rb"', "partition"),
        (r'comment: "a\x1b[2J"', "comment"),
        (r'setup: ["module load a", "b\nc"]', "setup"),
        (r'srun: ["--x=\ty"]', "srun"),
        (r'environment: {A: "b\nc"}', "environment.A"),
        (r'sbatch: {"a\nrm -rf b": c}', "sbatch"),
        (r'sbatch: {licenses: "a\n#SBATCH --uid=0"}', "sbatch.licenses"),
        (r'"acc\nount": a', ""),
        (r'train: {gpu_type: "a\nb"}', "train.gpu_type"),
        (r'variants: {8b: {train: {gpu_type: "a\nb"}}}', "variants.8b.train.gpu_type"),
        (r'variants: {8b: {setup: ["a\nb"]}}', "variants.8b.setup"),
    ],
)
def test_control_characters_are_refused_everywhere(tmp_path: Path, text: str, place: str) -> None:
    said = refusal(tmp_path, "max_requeues: 3\n" + text + "\n")
    assert said.startswith(f"mine.yaml:2: {place}: a control character (line break?) in "), said


def test_a_line_break_in_an_assignment_is_refused() -> None:
    with pytest.raises(ConfigError, match="--slurm comment: comment: a control character"):
        load_profile("cpu", ('comment="a\\nb"',))
    with pytest.raises(ConfigError, match="--slurm comment: comment: a control character"):
        change_profile(Profile(), ('comment="a\\nb"',))


@pytest.mark.parametrize(
    "name",
    [
        *("HF_TOKEN", "WANDB_API_KEY", "WANDB_APIKEY", "MY_SECRET", "DB_PASSWORD", "hf_token"),
        *("GOOGLE_APPLICATION_CREDENTIALS", "AWS_SECRET_ACCESS_KEY", "TOKEN", "MYSQL_PASSWD"),
    ],
)
def test_variables_that_look_like_secrets_are_refused(tmp_path: Path, name: str) -> None:
    said = refusal(tmp_path, f"environment:\n  {name}: abc\n")
    assert said.startswith(f"mine.yaml:1: environment: {name} looks like a secret; profiles")


@pytest.mark.parametrize("name", ["A B", "A-B", "7A", "A=B", "A;B", "$A", ""])
def test_what_is_no_name_of_a_variable_is_refused(tmp_path: Path, name: str) -> None:
    said = refusal(tmp_path, f"environment: {{'{name}': abc}}\n")
    assert said.startswith(f"mine.yaml:1: environment: {name!r} is not the name of a variable")


@pytest.mark.parametrize("value", ["$SCRATCH/hf", "~/hf", "~", "a:${HOME}", "$(pwd)/a"])
def test_what_only_a_shell_would_expand_is_not_handed_over_as_it_is(
    tmp_path: Path, value: str
) -> None:
    said = refusal(tmp_path, f"environment: {{HF_HOME: '{value}'}}\n")
    assert said.startswith("mine.yaml:1: environment: HF_HOME: jobs would get ")
    assert said.endswith(f"under setup: export HF_HOME={value}")


def test_ordinary_variables_are_taken(tmp_path: Path) -> None:
    variables = ("NCCL_IB_HCA", "HF_HUB_OFFLINE", "TOKENIZERS_PARALLELISM", "_x", "OMP_NUM_THREADS")
    text = "environment:\n" + "".join(f'  {name}: "1"\n' for name in variables)
    assert set(load_profile(write(tmp_path, text)).environment) == set(variables)

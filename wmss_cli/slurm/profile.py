"""Profiles: what stages ask of a Slurm cluster, in YAML files of ``slurm_templates/``.

``--profile NAME`` is a file (``NAME.yaml``), or the name of one that ships with wmss;
``NAME:VARIANT`` overrides values with those of one of its ``variants``. The text under
each field is its documentation.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field, field_validator, model_validator

from wmss_cli.core.errors import ConfigError
from wmss_cli.core.paths import packaged
from wmss_cli.core.resolve import Sources
from wmss_cli.core.section import Count, Positive, Section
from wmss_cli.stages.table import Kind

OWNED = frozenset(
    {
        *("array", "chdir", "cpus-per-task", "dependency", "error", "export", "gres"),
        *("input", "job-name", "kill-on-invalid-dep", "mem", "nodes", "ntasks"),
        *("ntasks-per-node", "open-mode", "output", "parsable", "requeue", "no-requeue"),
        *("signal", "test-only", "time", "wait", "wrap", "hold", "begin", "gpus-per-node"),
        *("account", "partition", "qos", "constraint", "reservation", "nodelist", "exclude"),
        *("mail-type", "mail-user", "comment", "exclusive"),
        *("gpus", "gpus-per-task", "gpus-per-socket", "mem-per-cpu", "mem-per-gpu", "cpus-per-gpu"),
        *("ntasks-per-core", "ntasks-per-gpu", "ntasks-per-socket", "clusters", "export-file"),
        *("uid", "gid", "get-user-env", "quiet", "help", "usage", "version", "ignore-pbs"),
    }
)
"""Options of sbatch that wmss sets itself, from the fields below or for its own purposes."""

EARLY_S = 60
"""How much earlier than asked Slurm may send its signal."""
USUAL_LEAD_S = 120
"""`signal_lead_s` if nothing large is saved."""
_SECRET = re.compile(
    r"(^|_)(TOKENS?|SECRETS?|PASS(WORD|WD|PHRASE)?|(API)?KEYS?|CREDENTIALS?)(_|$)", re.IGNORECASE
)
_INHERITED = "profiles are copied into scripts: export it in your shell, jobs inherit it"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FOR_A_SHELL = re.compile(r"^~(/|$)|\$(\w|[{(])")
_OPTION = re.compile(r"[a-z][a-z-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Resources(Section):
    """What one kind of job gets."""

    nodes: Count = 1
    """Nodes of one job."""
    tasks_per_node: Count = 1
    """Processes on each node: for training one per GPU."""
    gpus_per_node: Annotated[int, Field(ge=0)] = 0
    """GPUs of one job on each node."""
    gpu_type: str | None = None
    """Type of the GPUs as Slurm names it (`gpu:h800:8`); null asks for any."""
    cpus_per_task: Count = 1
    """Cores of each process: its threads, and the workers that check answers."""
    mem_gb: Annotated[int, Field(ge=0)] | None = None
    """Memory on each node, in GB; 0 is all of it, null what the partition gives by default."""
    exclusive: bool = False
    """Whether the job shares its nodes with no other."""
    time_limit_min: Annotated[int, Field(ge=2)] = 60
    """Slurm ends the job after this many minutes; training continues in the next attempt."""
    signal_lead_s: Annotated[int, Field(ge=60)] | None = None
    """How long before its limit a job is told to save, in seconds; null derives it from the size of
    the checkpoint and `disk_gb_per_s`: twice the time to write it, a minute for the step, and one
    since Slurm may be that early; at least 120, and 120 if nothing is trained."""
    partition: str | None = None
    """Overrides the profile's partition."""

    @model_validator(mode="after")
    def _adds_up(self) -> Resources:
        if self.gpus_per_node and self.tasks_per_node > self.gpus_per_node:
            raise ValueError(
                f"tasks_per_node {self.tasks_per_node} is more than gpus_per_node "
                f"{self.gpus_per_node}: each process needs a GPU"
            )
        lead = self.signal_lead_s
        if lead is not None and lead + EARLY_S > 60 * self.time_limit_min:
            raise ValueError(
                f"signal_lead_s {lead} leaves no time to work: the limit is "
                f"{self.time_limit_min} min, and Slurm may signal {EARLY_S} s early"
            )
        return self

    @property
    def tasks(self) -> int:
        """Processes of one job."""
        return self.nodes * self.tasks_per_node

    @property
    def gpus(self) -> int:
        """GPUs of one job."""
        return self.nodes * self.gpus_per_node


class Profile(Section):
    """How the jobs of one cluster are sent."""

    account: str | None = None
    """Who pays (`--account`)."""
    partition: str | None = None
    """Where jobs run (`--partition`); null is the cluster's default."""
    qos: str | None = None
    """Quality of service (`--qos`)."""
    constraint: str | None = None
    """Features that nodes must have (`--constraint`)."""
    reservation: str | None = None
    """Reserved nodes to use (`--reservation`)."""
    nodelist: str | None = None
    """Nodes that must be among those used (`--nodelist`)."""
    exclude: str | None = None
    """Nodes not to use (`--exclude`)."""
    mail_type: str | None = None
    """When Slurm writes a mail (`--mail-type`), such as `FAIL,END`."""
    mail_user: str | None = None
    """Who gets that mail (`--mail-user`)."""
    comment: str | None = None
    """A text that Slurm keeps with each job (`--comment`)."""
    sbatch: dict[str, str | int | bool] = Field(default_factory=dict)
    """Further options of sbatch by their long names, such as `licenses: fs@2`."""
    setup: list[str] = Field(default_factory=list)
    """Shell lines before each job, under `set -euo pipefail`: modules, conda."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Variables of each job; they are written into the script, so no secrets."""
    python: str | None = None
    """Shell command that starts Python in a job, for containers; null is this very Python."""
    srun: list[str] = Field(default_factory=list)
    """Further options of srun, such as `--container-image=…`. They come after wmss's own,
    `--kill-on-bad-exit=1` and `--distribution=block:block`, and override them."""
    array_limit: Count = 16
    """Tasks of one stage's array that run at once."""
    max_submitted: Count | None = None
    """Most jobs and array tasks that you have in the queue at once, including those of other runs,
    if the site limits them (`MaxSubmitJobs`); the rest is sent as they end, by `--wait` or when you
    type the same command again. Null sends all at once."""
    requeue: Literal["scontrol", "chain"] = "scontrol"
    """How training continues after its time limit: the job requeues itself (`scontrol`), or
    `chained_jobs` successors are sent with it, for compute nodes without scontrol."""
    max_requeues: Annotated[int, Field(ge=0)] = 20
    """How often a job may requeue itself."""
    chained_jobs: Count = 3
    """Successors of a training job under `requeue: chain`."""
    gpu_mem_gb: Positive | None = None
    """Memory of a GPU of `train`, in GB; for `wmss plan`."""
    gpu_tflops: Positive | None = None
    """Dense bf16 TFLOP/s of a GPU of `train`, from its data sheet; for `wmss plan`."""
    gpu_link_gb_per_s: Positive | None = None
    """What a GPU sends to the others of its node, one way, in GB/s, from its data sheet; for `wmss
    plan`, which assumes 200 if null."""
    node_network_gb_per_s: Positive | None = None
    """What all network adapters of a node send together, one way, in GB/s; for `wmss plan`, which
    assumes 50 if null."""
    disk_gb_per_s: Positive = 1.0
    """What all nodes of a training job together write to the run's disk, in GB/s; for
    `signal_lead_s` and `wmss plan`. The log of a training says how long each checkpoint took."""
    train: Resources = Resources()
    """sft and joint-train."""
    score: Resources = Resources()
    """score-entropy (each shard) and analyze."""
    eval: Resources = Resources()
    """eval (each shard)."""
    cpu: Resources = Resources()
    """All other stages, and the merging of shards."""
    variants: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Values by name, with which `--profile NAME:VARIANT` overrides the others."""

    def resources(self, kind: Kind) -> Resources:
        """Return what a kind of job gets."""
        return cast(Resources, getattr(self, kind))

    @field_validator("sbatch")
    @classmethod
    def _known_options(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not _OPTION.fullmatch(name):
                raise ValueError(f"{name!r} is not a long option of sbatch; write it as licenses")
            # sbatch also accepts the beginning of an option.
            if any(owned.startswith(name) for owned in OWNED):
                raise ValueError(f"{name} is set by wmss itself; use the profile's own field")
        return value

    @field_validator("environment")
    @classmethod
    def _no_secrets(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not _VARIABLE.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a variable")
            if _FOR_A_SHELL.search(text):
                raise ValueError(
                    f"{name}: jobs would get {text!r} as it is written; give it to a shell, "
                    f"under setup: export {name}={text}"
                )
            if _SECRET.search(name):
                raise ValueError(f"{name} looks like a secret; {_INHERITED}")
        return value

    @model_validator(mode="after")
    def _no_secret_is_set(self) -> Profile:
        for text in (*self.setup, *self.srun, self.python or "", *map(str, self.sbatch.values())):
            for name in re.findall(r"\b([A-Za-z_]\w*)=", text):
                if _SECRET.search(name):
                    raise ValueError(f"{name} looks like a secret; {_INHERITED}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _no_control_characters(cls, values: Any) -> Any:
        problem = _control_character(values, "")
        if problem is not None:
            raise ValueError(problem)
        return values


def _control_character(value: Any, place: str) -> str | None:
    for where, text in _texts(value, place):
        if _CONTROL.search(text):
            return f"{where}: a control character (line break?) in {text!r}"
    return None


def _texts(value: Any, place: str) -> list[tuple[str, str]]:
    """Return every text in nested lists and mappings, keys too, with its place."""
    if isinstance(value, str):
        return [(place, value)]
    if isinstance(value, dict):
        inner = [pair for k, v in value.items() for pair in _texts(v, f"{place}.{k}".lstrip("."))]
        return [(place, str(k)) for k in value] + inner
    if isinstance(value, list | tuple):
        return [pair for item in value for pair in _texts(item, place)]
    return []


def load_profile(name: str, assignments: tuple[str, ...] = ()) -> Profile:
    """Read a profile.

    Parameters
    ----------
    name : str
        ``NAME``, ``NAME:VARIANT``, or the same with the path of a YAML file as the name.
    assignments : tuple of str
        ``KEY=VALUE`` of ``--slurm``; these override all else.

    Raises
    ------
    ConfigError
        If there is no such profile or variant, or a value cannot work.
    """
    stem, _, variant = name.partition(":")
    sources = Sources(Profile)
    file = find_profile(stem)
    sources.add_file(file)
    variants = sources.values.get(("variants",), {})
    if variant:
        if not isinstance(variants, dict) or variant not in variants:
            there = f"there are {', '.join(variants)}" if variants else "it has none"
            raise ConfigError(f"{file}: no variant {variant!r}; {there}")
        if not isinstance(variants[variant], dict):
            where = sources.origins["variants",]
            raise ConfigError(f"{where} {variant}: expected 'key: value' lines, like the profile's")
        for key, value in variants[variant].items():
            sources.override((str(key),), value, f"{sources.origins['variants',]} {variant}")
    sources.add_assignments("--slurm", assignments)
    return _checked(sources)


def change_profile(profile: Profile, assignments: tuple[str, ...]) -> Profile:
    """Return a profile with some values changed by ``KEY=VALUE`` texts.

    Raises
    ------
    ConfigError
        If a key is unknown or a value cannot work.
    """
    sources = Sources(Profile)
    for key, value in profile.model_dump().items():
        sources.override((key,), value, "the run's profile")
    sources.add_assignments("--slurm", assignments)
    return _checked(sources)


def _checked(sources: Sources) -> Profile:
    # Pydantic would not say on which line.
    for key, value in sources.values.items():
        problem = _control_character({".".join(key): value}, "")
        if problem is not None:
            raise ConfigError(f"{sources.origins[key]}: {problem}")
    return cast(Profile, sources.check())


def find_profile(name: str) -> Path:
    """Return the file of a profile: a path, or one that ships with wmss.

    Raises
    ------
    ConfigError
        If there is none.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return Path(name)
    shipped = packaged("slurm_templates")
    if not (shipped / f"{name}.yaml").is_file():
        names = ", ".join(sorted(path.stem for path in shipped.glob("*.yaml")))
        raise ConfigError(
            f"--profile {name}: there are {names}; or the path of a YAML file "
            "('wmss init --profile' writes one for this cluster)"
        )
    return shipped / f"{name}.yaml"

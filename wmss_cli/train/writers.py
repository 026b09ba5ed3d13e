"""Other destinations of a run's metrics than ``metrics.jsonl``: TensorBoard, trackio, W&B.

Each is a :class:`Writer`, imported only if it is requested. What they store on the disk is in
``logs/`` next to the artifact, since it is not part of it.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

from wmss_cli.core.errors import ConfigError
from wmss_cli.core.files import read_json_lines
from wmss_cli.train.ranks import Ranks

Service = Literal["tensorboard", "trackio", "wandb"]

_PROJECT = "wmss"


class Writer(Protocol):
    """Takes the metrics of one run."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Take the metrics of a step; steps never decrease."""

    def close(self) -> None:
        """Wait until everything is stored."""


class TensorBoard:
    """An event file in ``logs/tensorboard/NAME``.

    Parameters
    ----------
    out : Path
        The path of the artifact.
    step : int
        Number of steps done. Later steps that are already in the file are marked as void.
    """

    def __init__(self, out: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = _logs(out) / "tensorboard" / out.name
        self._writer: Any = SummaryWriter(folder, purge_step=step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        # A killed run must not lose the steps up to its checkpoint.
        self._writer.flush()

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()


class Trackio:
    """A run of the project ``wmss`` in the database in ``logs/trackio``, or in ``TRACKIO_DIR``.

    Parameters
    ----------
    out : Path
        The path of the artifact; its folder's name is the group.
    run_id : str
        Name of the run, which is continued if it exists.
    config : mapping
        The options of the stage.
    """

    def __init__(self, out: Path, run_id: str, config: Mapping[str, Any]) -> None:
        # trackio reads it when it is imported.
        os.environ.setdefault("TRACKIO_DIR", str(_logs(out) / "trackio"))
        import trackio

        self._run: Any = trackio.init(
            project=_PROJECT,
            name=run_id,
            group=out.resolve().parent.name,
            config=dict(config),
            resume="allow",
            auto_log_cpu=False,
            auto_log_gpu=False,
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log a step."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Wait until everything is in the database."""
        self._run.finish()


class WeightsAndBiases:
    """A run of the project ``wmss``, or of ``WANDB_PROJECT``; its files are in ``logs/wandb``.

    Parameters
    ----------
    out, run_id, config
        As in :class:`Trackio`.

    Raises
    ------
    ConfigError
        If W&B refuses, for lack of a login or a network.
    """

    def __init__(self, out: Path, run_id: str, config: Mapping[str, Any]) -> None:
        import wandb

        folder = _logs(out)
        folder.mkdir(parents=True, exist_ok=True)
        self._wandb = wandb
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", _PROJECT),
                id=run_id,
                name=out.name,
                group=out.resolve().parent.name,
                config=dict(config),
                dir=folder,
                resume="allow",
                settings=wandb.Settings(console="off"),
            )
        except wandb.Error as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"report_to wandb: {reason}; log in by 'wandb login', or set WANDB_MODE=offline"
            ) from None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log a step."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Wait until everything is sent, and end the process that sends."""
        self._run.finish()
        self._wandb.teardown()


def check_installed(services: Sequence[Service]) -> None:
    """Check that the requested services can be imported.

    Raises
    ------
    ConfigError
        If one is not installed.
    """
    for name in services:
        if not find_spec(name):
            raise ConfigError(f"report_to {name} is not installed: pip install 'wmss[{name}]'")


class MetricWriters:
    """The writers of a run, on its first rank; on other ranks it does nothing.

    It is a context manager that closes them.

    Parameters
    ----------
    services : sequence of str
        Where the metrics go.
    out : Path
        The path of the artifact; runs are named after it.
    config : mapping
        The options of the stage, for the services to show.
    ranks : Ranks
        The processes that train together.

    Raises
    ------
    ConfigError
        If a service is not installed.
    """

    def __init__(
        self, services: Sequence[Service], out: Path, config: Mapping[str, Any], ranks: Ranks
    ) -> None:
        check_installed(services)
        self._services = tuple(dict.fromkeys(services))
        self._out = out
        self._config = config
        self._ranks = ranks
        self._writers: list[Writer] = []

    def __enter__(self) -> MetricWriters:
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.close()

    def open(self, step: int, metrics: Path) -> None:
        """Open the writers; all ranks call it together.

        Parameters
        ----------
        step : int
            Number of steps done. At 0 a new run begins in each service, otherwise it is continued.
        metrics : Path
            The ``metrics.jsonl`` of an earlier attempt, if there is one.

        Raises
        ------
        ConfigError
            If a service refuses.
        """

        def open_all() -> None:
            if not self._services:
                return
            run_id = _run_id(self._out, begins=step == 0)
            seen = 0
            if step > 0:
                seen = max((row["step"] for row in read_json_lines(metrics)), default=0)
            for name in self._services:
                if name == "tensorboard":
                    self._writers.append(TensorBoard(self._out, step))
                else:
                    service = Trackio if name == "trackio" else WeightsAndBiases
                    self._writers.append(_After(service(self._out, run_id, self._config), seen))

        self._ranks.from_first(open_all)

    def write(self, row: Mapping[str, float | None]) -> None:
        """Pass on a row of ``metrics.jsonl``, without unknown values."""
        values = {name: value for name, value in row.items() if value is not None}
        step = int(values.pop("step"))
        for writer in self._writers:
            writer.write(step, values)


class _After:
    """Leaves out steps that a service already has, since it could not take them back."""

    def __init__(self, writer: Writer, step: int) -> None:
        self._writer = writer
        self._step = step

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if step > self._step:
            self._writer.write(step, values)

    def close(self) -> None:
        self._writer.close()


def _logs(out: Path) -> Path:
    return out.resolve().parent / "logs"


def _run_id(out: Path, begins: bool) -> str:
    """Return the name of the run, the same for all attempts that continue each other."""
    note = _logs(out) / f"{out.name}.run"
    if begins or not note.is_file():
        name = re.sub(r"[^\w.-]", "_", out.name)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{name}-{secrets.token_hex(3)}", encoding="utf-8")
    return note.read_text(encoding="utf-8")

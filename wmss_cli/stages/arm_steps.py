"""From an arm to the steps that train, evaluate and analyze it, for one base model and one seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from wmss_cli.core.config import Config, JointConfig, SftConfig, TrainConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.section import Section
from wmss_cli.results.study import StudyRun
from wmss_cli.stages.arm_config import config_of, own_options, training_section
from wmss_cli.stages.arms import arm_named
from wmss_cli.stages.catalogue import CATALOGUE, Arm
from wmss_cli.stages.plan import Output, Plan


@dataclass(frozen=True)
class _Point:
    """How far training has come.

    Attributes
    ----------
    strong, weak : Output
        The model, and the checkpoint before it.
    trainings : tuple of str
        Labels of the steps that led here.
    earlier : mapping
        Models along the way, by epoch or iteration.
    trained_weak : Output or None
        The weak model that was co-trained with it.
    curriculum : str or None
        Label of the last curriculum.
    """

    strong: Output
    weak: Output | None = None
    trainings: tuple[str, ...] = ()
    earlier: Mapping[str, Output] = field(default_factory=dict)
    trained_weak: Output | None = None
    curriculum: str | None = None


class ArmPlanner:
    """The arms of one base model with one seed; what they share is planned once.

    Parameters
    ----------
    plan : Plan
        The plan that the steps are added to.
    config : Config
        Configuration of the study.
    model : str
        Name of the base model; empty if there is only one.
    seed : int
        Seed of the draw of the active set, the order of the data, dropout and noise.
    base, tokens : Output
        M0, and the token table that its tokenizer made.
    tasks : mapping of str to Output
        What to evaluate on, by role.
    """

    def __init__(
        self,
        plan: Plan,
        config: Config,
        model: str,
        seed: int,
        base: Output,
        tokens: Output,
        tasks: Mapping[str, Output],
    ) -> None:
        self._plan = plan
        self._config = _seeded(config, seed) if config.seeds else config
        self._model = model
        self._seed = seed
        self._base = base
        self._tokens = tokens
        self._tasks = tasks

    def add(self, arm: Arm) -> tuple[StudyRun, str]:
        """Plan an arm with its evaluation; return it, and the fingerprint of its model."""
        at = self._train(arm, config_of(arm, self._config))
        # Without training nothing is random, unless the answers are sampled.
        seeded = bool(at.trainings) or self._config.eval.temperature > 0.0
        run = StudyRun(
            model=self._model,
            arm=arm.name,
            seed=self._seed if seeded else None,
            trainings=list(at.trainings),
            evaluation=self._evaluate(arm.name, at.strong, seeded),
            earlier={
                when: self._evaluate(f"{arm.name}@{when}", model, seeded)
                for when, model in at.earlier.items()
            },
            logits=self._analyze(arm.name, at.strong),
            weak_logits=(
                None
                if at.trained_weak is None
                else self._analyze(f"{arm.name}-weak", at.trained_weak)
            ),
            curriculum=at.curriculum,
        )
        return run, at.strong.fingerprint

    def check_overrides(self, arm: Arm) -> None:
        """Refuse an override that changes nothing in what an arm trains.

        Raises
        ------
        ConfigError
            If there is one.
        """
        final, options = self._final(arm)
        for key, value in arm.overrides.items():
            section, _, name = key.partition(".")
            of_study = self._config if key == "iterations" else getattr(self._config, section)
            if value == getattr(of_study, name or key):
                continue
            others = {other: kept for other, kept in arm.overrides.items() if other != key}
            without, options_without = self._final(replace(arm, overrides=others))
            same = without == final
            if same and name in of_study.EXECUTION:
                # No fingerprint shows how work is split.
                same = options_without.get(name) == options.get(name)
            if same:
                raise ConfigError(
                    f"arm {arm.name}: {key} changes nothing in what it trains "
                    f"({arm.rule.words}, {arm.samples} samples); remove it",
                    ("arms", arm.name),
                )

    def _final(self, arm: Arm) -> tuple[str, Mapping[str, object]]:
        """Return what an arm's last step makes, and its options, those of execution included."""
        plan = Plan(Path())
        scratch = ArmPlanner(
            plan, self._config, self._model, self._seed, self._base, self._tokens, {}
        )
        made = scratch._train(arm, config_of(arm, self._config)).strong
        options = next((step.job.config for step in plan.steps if step.label == made.step), {})
        return made.fingerprint, options

    def _train(self, arm: Arm, config: Config) -> _Point:
        """Plan all training of an arm; return the point where it ends."""
        if arm.start == "base":
            if arm.steps == "none":
                return _Point(self._base)
            return self._first_phase(arm, config, arm.name)
        if arm.start == "sft":
            at = self._first_phase(CATALOGUE["m1"], config, arm.name)
        else:
            parent = arm_named(arm.start, self._config)
            at = self._train(parent, config_of(parent, self._config))
        at = _Point(at.strong, at.weak, at.trainings)
        if arm.rule.stage == "extrapolate":
            return self._extrapolate(arm, config, at)
        if arm.rule.stage == "sft" and arm.samples == "all":
            return self._round(arm, config, at, arm.name, 1)
        for k in range(1, config.iterations + 1):
            last = k == config.iterations
            before = at.earlier
            at = self._round(arm, config, at, arm.name if last else f"{arm.name}-{k}", k)
            along = at.earlier if last else {f"K{k}": at.strong}
            at = replace(at, earlier={**before, **along})
        return at

    def _first_phase(self, arm: Arm, config: Config, user: str) -> _Point:
        if user == arm.name:
            section = training_section(arm, config)
        else:
            # How long and how fast M1 is trained may differ between arms; its objective is the
            # study's, and so is how the work is split, which no fingerprint shows.
            study = self._config.sft
            kept = {name: getattr(study, name) for name in (*own_options(), *study.EXECUTION)}
            section = config.sft.model_copy(update=kept)
        inputs = {"strong": self._base, "tokens": self._tokens}
        if isinstance(section, SftConfig) and section.objective == "undial_kd":
            inputs["reference"] = self._base
        made = self._add((arm.name, f"{arm.name}-{user}"), "sft", section, inputs)
        return _Point(made.part("model"), self._base, (label_of(made),), _epochs(made, section))

    def _round(self, arm: Arm, config: Config, at: _Point, name: str, k: int) -> _Point:
        """Plan one second phase: entropies and the draw, if there is one, and the training."""
        section = training_section(arm, config)
        inputs = {"strong": at.strong, "tokens": self._tokens}
        curriculum = None
        if arm.samples in ("active", "random"):
            inputs["active"] = curriculum = self._curriculum(arm, config, at, k)
        trained_weak = None
        if isinstance(section, JointConfig):
            if section.weak_logits != "uniform":
                assert at.weak is not None
                inputs["weak"] = at.strong if arm.rule.weak == "self" else at.weak
            has_weak = section.weak_mode == "cotrain" and section.weak_logits == "model"
        else:
            has_weak = False
            if section.objective == "undial_kd":
                inputs["reference"] = at.strong
            if arm.steps == "flops":
                inputs["matched"] = self._curriculum(arm, config, at, k)
        made = self._add((name,), arm.rule.stage, section, inputs)
        if has_weak:
            trained_weak = made.part("weak")
        cotrained = isinstance(section, JointConfig) and section.next_weak == "cotrained"
        return _Point(
            made.part("model"),
            trained_weak if cotrained and trained_weak is not None else at.strong,
            (*at.trainings, label_of(made)),
            _epochs(made, section),
            trained_weak,
            None if curriculum is None else label_of(curriculum),
        )

    def _curriculum(self, arm: Arm, config: Config, at: _Point, k: int) -> Output:
        """Plan both entropies and the draw."""
        assert at.weak is not None
        entropies = {
            "weak": self._score(at.weak, config),
            "strong": self._score(at.strong, config),
        }
        section = config.curriculum
        name = "curriculum"
        if arm.samples == "random":
            section = section.model_copy(update={"choice": "random"})
            name = "curriculum-random"
        own = f"curriculum-{arm.name}" if k == 1 else f"curriculum-{arm.name}-{k}"
        return self._add((name, own) if k == 1 else (own,), "build_curriculum", section, entropies)

    def _score(self, model: Output, config: Config) -> Output:
        name, seeded = "base", False
        if model != self._base:
            assert model.step is not None
            seeded = True
            name = self._bare(model.step) + ("-weak" if model.path.endswith("/weak") else "")
        inputs = {"model": model, "tokens": self._tokens}
        return self._add((f"score-{name}",), "score_entropy", config.score_entropy, inputs, seeded)

    def _extrapolate(self, arm: Arm, config: Config, at: _Point) -> _Point:
        assert at.weak is not None
        inputs = {"base": at.weak, "strong": at.strong}
        made = self._add((arm.name,), "extrapolate", config.extrapolate, inputs)
        return _Point(made.part("model"), at.strong, (*at.trainings, label_of(made)))

    def _evaluate(self, name: str, model: Output, seeded: bool) -> str:
        inputs = {"model": model, **self._tasks}
        return label_of(self._add((f"eval-{name}",), "eval", self._config.eval, inputs, seeded))

    def _analyze(self, name: str, model: Output) -> str:
        inputs = {"model": model, "tokens": self._tokens}
        seeded = model != self._base
        section = self._config.analyze
        return label_of(self._add((f"logits-{name}",), "analyze", section, inputs, seeded))

    def _add(
        self,
        names: Sequence[str],
        stage: str,
        section: Section,
        inputs: Mapping[str, Output],
        seeded: bool = True,
    ) -> Output:
        """Add a step under the first free name, between the base model's name and the seed."""
        before = f"{self._model}/" if self._model else ""
        behind = f"/s{self._seed}" if seeded and self._config.seeds else ""
        label, *otherwise = (f"{before}{name}{behind}" for name in names)
        return self._plan.add(label, stage, section, inputs, otherwise)

    def _bare(self, label: str) -> str:
        """Return a label without base model and seed."""
        before = f"{self._model}/" if self._model else ""
        behind = f"/s{self._seed}" if self._config.seeds else ""
        return label.removeprefix(before).removesuffix(behind)


def label_of(made: Output) -> str:
    """Return the label of the step that makes something."""
    assert made.step is not None
    return made.step


def _seeded(config: Config, seed: int) -> Config:
    """Return the configuration with all options that a seed sets."""
    sections = {
        name: getattr(config, name).model_copy(update={"seed": seed})
        for name in ("sft", "curriculum", "joint", "eval")
    }
    return config.model_copy(update=sections)


def _epochs(made: Output, section: TrainConfig) -> dict[str, Output]:
    return {str(epoch): made.part(f"epoch-{epoch}") for epoch in section.epochs_kept}

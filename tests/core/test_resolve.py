"""Where each value comes from, and what a user reads when one is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from wmss_cli.core.config import Config
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.resolve import flatten, resolve


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    """Return the line about a file, without the folder it is in."""
    with pytest.raises(ConfigError) as caught:
        resolve(path)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{path.parent}/", "")


def test_without_anything_the_defaults_hold() -> None:
    resolved = resolve()
    assert resolved.config == Config()
    assert set(resolved.origins.values()) == {"default"}
    assert resolved.origins.keys() == flatten(Config()).keys()


def test_options_beat_set_beats_yaml_beats_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, "sft:\n  learning_rate: 1\n  epochs: 1\n  warmup_ratio: 0.1\n")
    resolved = resolve(
        path,
        ["sft.learning_rate=2", "sft.epochs=2"],
        {"sft.learning_rate": ("--learning-rate", 3.0)},
    )
    sft = resolved.config.sft
    assert (sft.learning_rate, sft.epochs, sft.warmup_ratio, sft.beta1) == (3.0, 2.0, 0.1, 0.9)
    names = ("learning_rate", "epochs", "warmup_ratio", "beta1")
    assert [resolved.origins[f"sft.{name}"] for name in names] == [
        "--learning-rate",
        "--set sft.epochs",
        f"{path}:4",
        "default",
    ]


def test_a_later_set_beats_an_earlier_one() -> None:
    assert resolve(sets=["sft.epochs=2", "sft.epochs=3"]).config.sft.epochs == 3


def test_set_takes_a_whole_section() -> None:
    resolved = resolve(sets=["joint={mix_lambda: 0.42, weak_mode: frozen}"])
    assert resolved.config.joint.mix_lambda == 0.42
    assert resolved.config.joint.weak_mode == "frozen"
    assert resolved.origins["joint.weak_mode"] == "--set joint"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-5", 1e-5), ("3E-4", 3e-4), ("1.5e-4", 1.5e-4), ("2e+0", 2.0), (".5e-1", 0.05)],
)
def test_scientific_notation_is_a_number(tmp_path: Path, text: str, value: float) -> None:
    # YAML 1.1 as PyYAML reads it takes 1e-5 for a text.
    path = write(tmp_path, f"sft: {{learning_rate: {text}}}")
    assert resolve(path).config.sft.learning_rate == value
    assert resolve(sets=[f"sft.learning_rate={text}"]).config.sft.learning_rate == value


def test_names_that_begin_like_numbers_stay_text(tmp_path: Path) -> None:
    path = write(tmp_path, "tokenize: {system_prompt: 1e-5 is small}")
    assert resolve(path).config.tokenize.system_prompt == "1e-5 is small"


def test_paths_in_a_file_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "base").mkdir()
    path = write(
        tmp_path / "sub",
        "run_dir: runs\nmodel: ../base\ndata: [a.jsonl, /b.jsonl]\neval_files: {gsm: g.jsonl}\n",
    )
    config = resolve(path).config
    assert config.run_dir == str(tmp_path / "sub" / "runs")
    assert config.model == str(tmp_path / "base")
    assert config.data == [str(tmp_path / "sub" / "a.jsonl"), "/b.jsonl"]
    assert config.eval_files == {"gsm": str(tmp_path / "sub" / "g.jsonl")}


def test_paths_on_the_command_line_stay_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path, "run_dir: runs")
    config = resolve(path, ["model=base"], {"run_dir": ("--out", "here")}).config
    assert (config.run_dir, config.model) == ("here", "base")


def test_a_hub_id_is_not_taken_for_a_path_unless_the_folder_exists(tmp_path: Path) -> None:
    path = write(tmp_path, "model: Qwen/Qwen3-4B")
    assert resolve(path).config.model == "Qwen/Qwen3-4B"
    (tmp_path / "Qwen" / "Qwen3-4B").mkdir(parents=True)
    assert resolve(path).config.model == str(tmp_path / "Qwen" / "Qwen3-4B")


def test_the_seed_reaches_every_section_that_has_none_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 7\nsft: {seed: 3}\n")
    resolved = resolve(path)
    config = resolved.config
    assert (config.sft.seed, config.joint.seed, config.curriculum.seed) == (3, 7, 7)
    assert config.analyze.seed == 7
    assert resolved.origins["joint.seed"] == f"{path}:1"
    assert resolved.origins["sft.seed"] == f"{path}:2"
    # On the command line it beats the file everywhere but where a section says otherwise.
    assert resolve(path, ["seed=9"]).config.joint.seed == 9


@pytest.mark.parametrize("text", ["", "# only a comment\n"])
def test_an_empty_file_is_all_defaults(tmp_path: Path, text: str) -> None:
    assert resolve(write(tmp_path, text)).config == Config()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "sft:\n  epohcs: 2\n",
            "config.yaml:2: unknown key sft.epohcs; did you mean sft.epochs?",
        ),
        (
            "sfft:\n  epochs: 2\n",
            "config.yaml:1: unknown key sfft; did you mean sft?",
        ),
        (
            "seed: 1\nmix_lambda: 0.4\n",
            "config.yaml:2: unknown key mix_lambda; did you mean joint.mix_lambda?",
        ),
        (
            "zzzzzz: 2\n",
            "config.yaml:1: unknown key zzzzzz; 'wmss config show' lists all keys",
        ),
    ],
)
def test_an_unknown_key(tmp_path: Path, text: str, line: str) -> None:
    assert refusal(write(tmp_path, text)) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "sft:\n  epochs: two\n",
            "config.yaml:2: sft.epochs: input should be a valid number (given: 'two')",
        ),
        (
            "tokenize:\n  too_long: cut\n",
            "config.yaml:2: tokenize.too_long: input should be 'drop' or 'truncate' (given: 'cut')",
        ),
        (
            "joint: {cache_weak: 1}\n",
            "config.yaml:1: joint.cache_weak: input should be a valid boolean (given: 1)",
        ),
        (
            "data: a.jsonl\n",
            "config.yaml:1: data: input should be a valid list (given: 'a.jsonl')",
        ),
        (
            "data:\n  - a.jsonl\n  - 3\n",
            "config.yaml:1: data.1: input should be a valid string (given: 3); "
            "quote it if it is a text",
        ),
        (
            "joint:\n  mix_lambda: 0\n",
            "config.yaml:2: joint: mix_lambda 0 gives the strong model no gradient; "
            "use a value above 0",
        ),
    ],
)
def test_a_wrong_value(tmp_path: Path, text: str, line: str) -> None:
    assert refusal(write(tmp_path, text)) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("sft:\n  epochs: 1\n bad: [\n", "config.yaml:3: bad YAML: expected <block end>"),
        ("a: 1\nb: 2: 3\n", "config.yaml:2: bad YAML: mapping values are not allowed here; "),
        ("- sft\n", "config.yaml:1: expected 'key: value' lines"),
        ("just words\n", "config.yaml:1: expected 'key: value' lines"),
        ("a: 1\n---\nb: 2\n", "config.yaml:2: bad YAML: "),
        ("sft: {epochs: 1}\nsft: {epochs: 2}\n", "config.yaml:2: sft is given twice; remove one"),
        (
            "sft:\n  epochs: 1\n  epochs: 2\n",
            "config.yaml:3: sft.epochs is given twice; remove one",
        ),
        (
            "eval_files: {a: x, a: y}\n",
            "config.yaml:1: eval_files: bad YAML value: a is given twice",
        ),
        ("run_dir: !mine x\n", "config.yaml:1: run_dir: bad YAML value: could not determine"),
    ],
)
def test_bad_yaml(tmp_path: Path, text: str, line: str) -> None:
    assert refusal(write(tmp_path, text)).startswith(line)


def test_a_file_that_does_not_exist_or_is_not_text(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere.yaml") == (
        "nowhere.yaml: no such configuration file; 'wmss init' writes examples"
    )
    (tmp_path / "folder").mkdir()
    assert refusal(tmp_path / "folder") == "folder: this is a folder; name a YAML file"
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert (
        refusal(tmp_path / "binary") == "binary: not UTF-8 text; name a YAML file, saved as UTF-8"
    )


@pytest.mark.parametrize(
    ("assignment", "line"),
    [
        ("sft.epochs", "--set sft.epochs: expected KEY=VALUE, as in sft.learning_rate=3e-5"),
        ("=3", "--set =3: expected KEY=VALUE"),
        ("sft.epochs=[", "--set sft.epochs=[: the value is not YAML; quote it"),
        ("sft.lr=1", "--set sft.lr: unknown key sft.lr; did you mean sft.learning_rate?"),
        ("sft.epohcs=2", "--set sft.epohcs: unknown key sft.epohcs; did you mean sft.epochs?"),
        ("sft=3", "--set sft: sft: input should be a valid dictionary"),
        ("sft.epochs.x=3", "--set sft.epochs.x: sft.epochs: input should be a valid number"),
    ],
)
def test_a_bad_set(assignment: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(sets=[assignment])
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "seed: 1\ncontrols: [softening]\n",
            "2: controls are arms now; write arms: [base, m1, wm",
        ),
        ("seed: 1\nseeds: [0, 1, 0]\n", "2: seeds: 0 is given twice; remove one"),
        ("seed: 1\nseeds: [-1]\n", "2: seeds.0: input should be greater than or equal to 0"),
        ("seed: 1\ntables: [methods, methods]\n", "2: tables: methods is given twice"),
        ("seed: 1\nmodels: {a/b: x}\n", "2: models: 'a/b': a name begins with a letter or a"),
        ("seed: 1\narms: wmss\n", "2: arms: write a list of names, or a line 'NAME: {like"),
        ("seed: 1\narms: [wmss, 42]\n", "2: arms: 42 is not a text; put the name in quotes"),
        ("arms:\n  42: {like: wmss}\n", "1: arms: 42 is not a text; put the name in quotes"),
        ("arms: {a b: {like: wmss}}\n", "1: arms: 'a b': a name begins with a letter"),
        ("arms: [wmss, lam: {like: wmss}]\n", "1: arms: a list has names only; write lam: {…}"),
        ("arms: {a: wmss}\n", "1: arms: a: expected 'key: value' lines below an arm"),
        ("arms: {a: {like: wmss, 3: 4}}\n", "1: arms: a: 3 is not an option of an arm"),
        ("joint:\n  epochs: 2\n  mix_lambda: 0\n", "3: joint: mix_lambda 0 gives the strong"),
        ("sft:\n  epochs: 2\n  keep_epochs: true\n  max_steps: 3\n", "3: sft: keep_epochs needs"),
    ],
)
def test_what_a_study_cannot_mean_is_said_with_its_line(
    tmp_path: Path, text: str, line: str
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        resolve(file)
    assert str(caught.value).startswith(f"{file}:{line}")
    assert "\n" not in str(caught.value)


def test_an_error_that_knows_its_key_gets_its_line(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("arms:\n  wmss:\n  lam0.3: {like: wmss, joint.mix_lambda: 0.3}\n")
    given = resolve(file)
    for key, where in (
        (("arms", "lam0.3"), f"{file}:3: no"),
        (("arms", "other"), f"{file}:1: no"),
        (("seeds",), "no"),
        ((), "no"),
    ):
        with pytest.raises(ConfigError) as caught, given.located():
            raise ConfigError("no", key)
        assert str(caught.value) == where


def test_set_changes_one_option_of_an_arm(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("arms: {lam: {like: wmss, joint.mix_lambda: 0.3}}\n")
    config = resolve(file, ["arms.lam.joint.mix_lambda=0.4"]).config
    assert config.arms == {"lam": {"like": "wmss", "joint": {"mix_lambda": 0.4}}}


def test_set_adds_no_arm_to_a_list(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("arms: [wmss]\n")
    with pytest.raises(ConfigError, match=r"^--set arms.x: arms is \['wmss'\] \(.*:1\), which has"):
        resolve(file, ["arms.x={like: wmss}"])


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    file = tmp_path / "study.yaml"
    file.write_text("run_dir: ~/runs\nmodels: {a: ~/models/a}\n")
    config = resolve(file).config
    assert config.run_dir == str(tmp_path / "home" / "runs")
    assert config.models == {"a": str(tmp_path / "home" / "models" / "a")}


PATHS = (
    'run_dir: "{0}"',
    'model: "{0}"',
    'models: {{a: "{0}"}}',
    'data: ["{0}"]',
    'task_data: "{0}"',
    'eval_files: {{a: "{0}"}}',
    'launch: {{profile: "{0}"}}',
    'tasks: ["{0}.yaml"]',
    'decontaminate: ["{0}.yaml"]',
)
"""Every option that is a path."""


@pytest.mark.parametrize("line", PATHS)
def test_every_path_knows_the_home_folder_and_variables_wherever_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SCRATCH", "/home/me")
    plain = resolve(write(tmp_path, line.format("/home/me/a/b"))).config
    key, _, value = line.partition(": ")
    for written in ("~/a/b", "$SCRATCH/a/b", "${SCRATCH}/a/b"):
        assert resolve(write(tmp_path, line.format(written))).config == plain
        assert resolve(sets=[f"{key}={value}".format(written)]).config == plain


@pytest.mark.parametrize("line", PATHS)
def test_a_variable_that_is_not_set_makes_no_folder_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    said = refusal(write(tmp_path, line.format("$NOWHERE/a")))
    assert "config.yaml:1: " in said
    assert "$NOWHERE is not set; export NOWHERE" in said


def test_an_empty_path_is_refused() -> None:
    for key in ("run_dir", "model", "task_data"):
        with pytest.raises(ConfigError, match=f"^--set {key}: {key}: the path is empty"):
            resolve(sets=[f"{key}="])


@pytest.mark.parametrize(
    "text", ["sft:\n", "sft: null\n", "sft: ~\njoint:\ndata:\ntasks:\nmodels:\n"]
)
def test_a_section_or_a_list_with_nothing_in_it_is_the_default(tmp_path: Path, text: str) -> None:
    assert resolve(write(tmp_path, text)).config == Config()


def test_anchors_and_merges(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "x-both: &both {epochs: 2, seed: 3}\nsft: &sft\n  <<: *both\n  epochs: 1\n"
        "joint: {<<: [*both]}\narms: {a: &a {like: wmss, joint.epochs: 3}, b: {<<: *a}}\n",
    )
    resolved = resolve(path)
    assert (resolved.config.sft.epochs, resolved.config.joint.epochs) == (1, 2)
    assert (resolved.config.sft.seed, resolved.config.joint.seed) == (3, 3)
    assert resolved.config.arms == {name: {"like": "wmss", "joint.epochs": 3} for name in "ab"}
    assert resolved.origins["joint.seed"] == f"{path}:1"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("joint: {cache_weak: yes}", "joint.cache_weak: input should be a valid boolean "
         "(given: 'yes'); write true or false"),
        ("seed: 010", "seed: bad YAML value: 010 begins with 0, which some programs take for "
         "octal; write 10, or quote it if it is a text"),
        ("seed: 1:30", "seed: input should be a valid integer (given: '1:30'); write a number in "
         "digits alone, without quotes"),
        ("seed: 1e3", "seed: input should be a valid integer (given: 1000.0); write 1000"),
        ("sft: {max_steps: 1_000}", "sft.max_steps: input should be a valid integer (given: "
         "'1_000'); write a number in digits alone, without quotes"),
        ("sft: {epochs: .inf}", "sft.epochs: input should be a finite number (given: inf)"),
        ("run_dir: ~", "run_dir: input should be a valid string (given: None); a single ~ is null "
         "in YAML, and an empty text is ''"),
        ("sft: {<<: 3}", "sft.<< takes over a mapping; name its anchor, as in <<: *NAME"),
        ("sft: epochs", "sft: input should be a valid dictionary or instance of SftConfig (given: "
         "'epochs'); write 'key: value' lines below it, with a space after each colon"),
    ],
)  # fmt: skip
def test_what_versions_of_yaml_read_differently(tmp_path: Path, text: str, line: str) -> None:
    assert refusal(write(tmp_path, text)) == f"config.yaml:1: {line}"


def test_dates_and_words_for_yes_are_texts(tmp_path: Path) -> None:
    text = "run_dir: 2024-01-01\narms: {no: {like: wmss}, on: {like: wmss}}\n"
    config = resolve(write(tmp_path, text)).config
    assert config.run_dir == str(tmp_path / "2024-01-01")
    assert list(config.arms) == ["no", "on"]


def test_set_takes_an_empty_text() -> None:
    # As bash hands over --set eval.system_prompt=''.
    assert resolve(sets=["eval.system_prompt="]).config.eval.system_prompt == ""
    assert resolve(sets=["eval.system_prompt=''"]).config.eval.system_prompt == ""
    with pytest.raises(ConfigError, match="input should be a valid list"):
        resolve(sets=["data="])
    with pytest.raises(ConfigError, match="YAML takes what follows # for a comment"):
        resolve(sets=["eval.system_prompt=# Rules"])


def test_records_of_the_hub_are_told_from_files(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    text = "data: [owner/name, owner/name/main/train, here/gone, owner/name.jsonl, a/b/c/d/e]\n"
    config = resolve(write(tmp_path, text)).config
    assert config.data == [
        "owner/name",
        "owner/name/main/train",
        str(tmp_path / "here/gone"),
        str(tmp_path / "owner/name.jsonl"),
        str(tmp_path / "a/b/c/d/e"),
    ]

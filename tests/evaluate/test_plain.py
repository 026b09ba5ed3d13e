from __future__ import annotations

from pathlib import Path

import pytest
from evaluate.writers import STOP, argmax, make_model, make_prompts

from wmss_cli.evaluate.plain import write_plain

PROMPTS = make_prompts([5, 1, 12])


@pytest.mark.parametrize("kind", ["qwen3", "llama"])
def test_takes_the_most_probable_token_each_time(tiny_model: Path, kind: str) -> None:
    model = make_model(kind, tiny_model)
    expected = [(i, argmax(model, prompt, 16)) for i, prompt in enumerate(PROMPTS)]
    assert list(write_plain(model, PROMPTS, 16, [STOP])) == expected


def test_ends_with_the_first_of_the_stop_tokens(tiny_model: Path) -> None:
    model = make_model("qwen3", tiny_model)
    tokens = argmax(model, PROMPTS[0], 16)
    stop = max(tokens, key=tokens.index)
    expected = tokens[: tokens.index(stop) + 1]
    assert list(write_plain(model, PROMPTS[:1], 16, [STOP, stop])) == [(0, expected)]


def test_the_model_s_own_generation_settings_have_no_say(
    tiny_model: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    model = make_model("qwen3", tiny_model)
    before = list(write_plain(model, PROMPTS, 16, [STOP]))
    capfd.readouterr()  # of loading
    own = model.generation_config
    own.update(do_sample=True, temperature=5.0, top_k=3, repetition_penalty=2.0, max_length=12)

    assert list(write_plain(model, PROMPTS, 16, [STOP])) == before

    assert model.generation_config is own
    assert own.temperature == 5.0
    assert not capfd.readouterr().err
    assert not recwarn.list

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from wmss_cli.evaluate.generate import Generation, generate
from wmss_cli.models.causal import load_model
from wmss_cli.models.tokenizer import load_tokenizer

PROMPTS = ["Tom has 3 apples.", "How many?", "Anna buys 12 more books, then loses 5.", "x"]


@dataclass
class Writer:
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def ids(self, texts: list[str]) -> list[list[int]]:
        return self.tokenizer(texts)["input_ids"]

    def write(
        self,
        texts: list[str],
        max_new_tokens: int = 16,
        batch_size: int = 4,
        stop: list[int] | None = None,
    ) -> list[Generation]:
        stop = stop or [self.tokenizer.eos_token_id]
        return generate(
            self.model,
            self.tokenizer,
            self.ids(texts),
            max_new_tokens,
            batch_size,
            stop,
            lambda *_: None,
        )

    def argmax(self, text: str, n: int) -> list[int]:
        """Greedy decoding in its plainest form: the whole sequence again for each token."""
        ids = torch.tensor(self.ids([text]))
        with torch.inference_mode():
            for _ in range(n):
                best = self.model(ids).logits[:, -1:].argmax(-1)
                ids = torch.cat([ids, best], dim=1)
        return ids[0, -n:].tolist()


@pytest.fixture(scope="module")
def writer(tiny_model: Path) -> Writer:
    return Writer(load_model(tiny_model, "fp32"), load_tokenizer(tiny_model))


def test_takes_the_most_probable_token_each_time(writer: Writer) -> None:
    for prompt in PROMPTS:
        expected = writer.argmax(prompt, 16)
        assert writer.tokenizer.eos_token_id not in expected
        text = writer.tokenizer.decode(expected, skip_special_tokens=True)
        assert writer.write([prompt]) == [Generation(text, 16, "length")]


@pytest.mark.parametrize("batch_size", [2, 3, 4, 100])
def test_a_batch_gives_the_same_as_one_by_one_in_the_same_order(
    writer: Writer, batch_size: int
) -> None:
    together = writer.write(PROMPTS, batch_size=batch_size)
    assert together == [writer.write([prompt])[0] for prompt in PROMPTS]
    assert len({answer.text for answer in together}) == len(PROMPTS)


def test_ends_before_the_stop_token_while_the_others_go_on(writer: Writer) -> None:
    tokens = writer.argmax(PROMPTS[0], 16)
    stop = max(tokens, key=tokens.index)
    before = tokens[: tokens.index(stop)]
    stops = [stop, writer.tokenizer.eos_token_id]

    first, *rest = writer.write(PROMPTS, stop=stops)

    assert first == Generation(writer.tokenizer.decode(before), len(before), "stop")
    assert rest == [writer.write([prompt], stop=stops)[0] for prompt in PROMPTS[1:]]
    assert "length" in {answer.finish_reason for answer in rest}


def test_an_answer_may_be_empty(writer: Writer) -> None:
    stop = writer.argmax("x", 1)
    assert writer.write(["x"], stop=stop) == [Generation("", 0, "stop")]


def test_special_tokens_are_counted_but_not_shown(writer: Writer, tiny_model: Path) -> None:
    tokens = writer.argmax("x", 5)
    pieces = [writer.tokenizer.decode(token) for token in tokens]
    special = next(piece for piece in pieces if piece.isalnum())
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.add_special_tokens({"extra_special_tokens": [special]})
    shown = [token for token, piece in zip(tokens, pieces, strict=True) if piece != special]

    answer = Writer(writer.model, tokenizer).write(["x"], max_new_tokens=5)

    assert answer == [Generation(writer.tokenizer.decode(shown), 5, "length")]


def test_the_model_s_own_generation_settings_have_no_say(
    writer: Writer, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    before = writer.write(PROMPTS)
    own = writer.model.generation_config
    own.update(do_sample=True, temperature=5.0, top_k=3, repetition_penalty=2.0, max_length=12)

    assert writer.write(PROMPTS) == before

    assert writer.model.generation_config is own
    assert own.temperature == 5.0
    assert not capfd.readouterr().err
    assert not recwarn.list


def test_reports_finished_prompts_and_their_tokens(writer: Writer) -> None:
    seen: list[tuple[int, int]] = []
    generate(
        writer.model,
        writer.tokenizer,
        writer.ids(PROMPTS),
        5,
        3,
        [writer.tokenizer.eos_token_id],
        lambda done, tokens: seen.append((done, tokens)),
    )
    assert seen == [(3, 15), (4, 20)]

"""Which flash attention torch takes on a GPU, and what the log says of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from families import tiny

from wmss_cli.models.attention import attention_dropout, choose_flash

GPU = torch.device("cuda", 0)


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[tuple[int, int]], None]:
    """Return what sets the generation of the GPU that torch sees."""

    def set_generation(generation: tuple[int, int]) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: generation)

    return set_generation


def test_there_is_nothing_to_choose_on_a_cpu_and_before_hopper(
    on: Callable[[tuple[int, int]], None],
) -> None:
    assert choose_flash(torch.device("cpu")) is None
    on((8, 0))
    assert choose_flash(GPU) is None


def test_without_its_package_version_2_stays_and_the_log_says_what_it_costs(
    on: Callable[[tuple[int, int]], None],
) -> None:
    on((9, 0))
    said = choose_flash(GPU)
    assert said is not None
    assert said.startswith("attention: FlashAttention 2, half as fast here as 3 (flash-attn-3: ")


def test_version_3_is_taken_where_torch_offers_it(
    on: Callable[[tuple[int, int]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    monkeypatch.setattr(torch.nn.attention, "activate_flash_attention_impl", taken.append)
    on((9, 0))
    assert choose_flash(GPU) == "attention: FlashAttention 3"
    assert taken == ["FA3"]
    # It has no dropout, and holds for the whole process.
    assert choose_flash(GPU, dropout=0.1) == (
        "attention: FlashAttention 2, since version 3 has no dropout"
    )
    assert taken == ["FA3"]


def test_dropout_of_attention_is_found() -> None:
    assert attention_dropout(tiny("GPT2")) == 0.1
    assert attention_dropout(tiny("Qwen3")) == 0.0

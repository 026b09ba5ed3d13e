"""Every reason is explained, and only one of them is that of a right answer."""

from __future__ import annotations

from typing import get_args

from wmss_cli.core.verdict import REASONS, Reason, Refusal, Verdict


def test_every_reason_has_a_meaning() -> None:
    assert {*get_args(Reason), *get_args(Refusal)} == REASONS.keys()


def test_only_one_reason_is_correct() -> None:
    assert [reason for reason in get_args(Reason) if Verdict(reason).correct] == ["correct"]

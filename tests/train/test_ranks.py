"""What is refused before any rank joins."""

from __future__ import annotations

import deepspeed
import pytest

from wmss_cli.core.errors import ConfigError
from wmss_cli.train.ranks import check_deepspeed


@pytest.mark.parametrize(
    "version", ["0.19.8", "0.19.10+cu128", "0.20", "1.0.0", deepspeed.__version__]
)
def test_a_deepspeed_that_trains_rightly_is_taken(version: str) -> None:
    check_deepspeed(version)


@pytest.mark.parametrize("version", ["0.19.7", "0.18.0+unknown", "0.9", "0.19"])
def test_a_deepspeed_that_trains_wrongly_is_refused(version: str) -> None:
    with pytest.raises(ConfigError, match="its gradients are wrong in some cases"):
        check_deepspeed(version)

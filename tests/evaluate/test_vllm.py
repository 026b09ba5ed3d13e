from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from wmss_cli.core.errors import ConfigError
from wmss_cli.evaluate.vllm import load_vllm


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_the_error_says_how_to_install_it(tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match=r"not installed; pip install 'wmss\[vllm\]'"):
        load_vllm(tiny_model, "float32", None)

"""Pictures: which there are, that they take the page's colours, and that they load nothing."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from wmss_cli.results.findings import Findings
from wmss_cli.results.plots import pictures


def test_pictures_are_whole_and_take_the_colour_of_the_text(found: Findings) -> None:
    drawn = pictures(found)
    assert list(drawn) == [
        *("forest", "cost", "lambda", "epochs", "training", "clouds", "difficulty"),
        *("logits", "logit_curves"),
    ]
    for name, svg in drawn.items():
        root = ET.fromstring(svg)
        assert "currentColor" in svg
        assert "#010203" not in svg
        ids = [node.attrib["id"] for node in root.iter() if "id" in node.attrib]
        assert all(one.startswith(f"{name}-") for one in ids)
        assert "http" not in svg


def test_names_are_text_and_not_shapes(found: Findings) -> None:
    words = {node.text for node in ET.fromstring(pictures(found)["forest"]).iter("text")}
    assert {"wmss", "base", "points more than sft, mean over benchmarks"} <= words
    assert "sft" not in words


def test_what_is_not_known_is_not_drawn(found: Findings) -> None:
    bare = [
        arm.model_copy(
            update={
                "gap": None,
                "cost": None,
                "curve": None,
                "logits": {},
                "logit_curve": None,
                "epochs": {},
                "by_difficulty": [],
            }
        )
        for arm in found.arms
    ]
    nothing = found.model_copy(update={"arms": bare, "clouds": [], "first_phases": []})
    assert list(pictures(nothing)) == ["lambda"]

"""Messages of commands, shown in a window."""

from __future__ import annotations

import pytest

from napari_latentfm.notices import without_options

REASON = "2 of 3 pairs cannot be used:\n  a--b.png: its values are 0, 3, 7."


@pytest.mark.parametrize(
    ("advice", "kept"),
    [
        (" To use all, set --mask-threshold 0.5 (data.mask_threshold).", ""),
        ("\nOmit them, or skip them: --skip-bad (data.skip_bad = true).", "\nOmit them."),
        (" Save whole numbers; or set --mask-threshold 1: the rest.", " Save whole numbers."),
        (" Give them in [[data.sets]]; latentfm-evaluate reads them.", ""),
        (" Choose another folder.", " Choose another folder."),
    ],
)
def test_advice_about_options_is_left_out(advice: str, kept: str) -> None:
    assert without_options(REASON + advice) == REASON + kept

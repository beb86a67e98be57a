"""The benchmark of following an object, on discs."""

from __future__ import annotations

from benchmarks.following.cli import table
from benchmarks.following.measure import AGAIN, EVERY, FIRST, NONE, Video, measure
from latentfm_core.config import SamplingConfig
from latentfm_core.inference.segmenter import Segmenter
from tests.core.inference.test_following import images_of, moving_disc


def test_following_needs_one_box_instead_of_one_per_frame(promptable: Segmenter) -> None:
    planes = moving_disc(3)
    video = Video(images_of(planes), [labels == 1 for labels in planes])
    settings = SamplingConfig(n_samples=2, steps=2, seed=0, device="cpu", precision="fp32")
    rows = measure(promptable, video, settings)
    assert [rows[kind].boxes for kind in (FIRST, AGAIN, EVERY, NONE)] == [1, 1, 3, 0]
    assert min(rows[FIRST].dice) > 0.8
    # Without a prompt both discs are found.
    assert max(rows[NONE].dice) < 0.8
    assert rows[FIRST].missed == 0
    lines = table({kind: {"discs": row} for kind, row in rows.items()}, {"discs": video.overlap()})
    assert len(lines) == 6
    assert lines[2].startswith(f"| {FIRST} | 1 | 0.")

"""Standard error of a mean difference, with and without groups."""

from __future__ import annotations

import numpy as np
import pytest

from latentfm_core.evaluation.standard_error import standard_error

GAIN = np.array([0.1, -0.2, 0.4, 0.0, 0.3, 0.6])


def test_without_groups_it_is_the_usual_standard_error() -> None:
    assert standard_error(GAIN) == pytest.approx(GAIN.std(ddof=1) / np.sqrt(GAIN.size))
    assert standard_error(GAIN, [None] * GAIN.size) == pytest.approx(standard_error(GAIN))
    assert standard_error(GAIN, range(GAIN.size)) == pytest.approx(standard_error(GAIN))


def test_duplicates_in_a_group_do_not_reduce_the_standard_error() -> None:
    copies, groups = np.repeat(GAIN, 3), np.repeat(np.arange(GAIN.size), 3).tolist()
    assert standard_error(copies, groups) == pytest.approx(standard_error(GAIN))
    assert standard_error(copies) < standard_error(GAIN)


def test_fewer_than_two_groups_have_no_standard_error() -> None:
    assert standard_error(GAIN, ["one"] * GAIN.size) == float("inf")
    assert standard_error(GAIN[:1]) == float("inf")

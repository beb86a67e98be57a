"""Checks of the settings of data sets before a training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from latentfm_core.config import Config, SetConfig
from latentfm_core.datasets.object_set import unique_name
from latentfm_core.errors import ConfigError


def check_sets(config: Config) -> None:
    """Reject settings of the data that would have no effect, and names of sets that are ambiguous.

    Raises
    ------
    ConfigError
        If there are any; the message says what to do.
    """
    data = config.data
    own = ("split_file", "group_file", "mask_threshold")
    unused = [name for name in own if data.sets and getattr(data, name) is not None]
    if unused:
        raise ConfigError(
            f"data.{unused[0]} has no effect with several sets. Set {unused[0]} in each of "
            "[[data.sets]] that it belongs to, and leave it out elsewhere."
        )
    for one in data.sets:
        if (one.group_file is None) != (one.group_column is None):
            raise ConfigError(
                f"Set {one.name}: group_file and group_column belong together. Set both or neither."
            )
        check_threshold(
            f"Set {one.name}: mask_threshold",
            one.mask_threshold,
            config.model.classes,
            numbered=one.kind == "instances",
        )
    check_threshold("--mask-threshold", data.mask_threshold, config.model.classes)
    _check_names(data.sets)


def check_threshold(
    setting: str, threshold: float | None, classes: Sequence[str], numbered: bool = False
) -> None:
    """Raise `ConfigError` for a threshold of masks that are read by their numbers."""
    if threshold is not None and (numbered or len(classes) > 1):
        what = "objects" if numbered else "classes"
        raise ConfigError(
            f"{setting} has no effect: masks of several {what} are read by their numbers. Leave "
            "it out."
        )


def _check_names(sets: Sequence[SetConfig]) -> None:
    for first, second in permutations((one.name for one in sets), 2):
        if unique_name(second, "").startswith(unique_name(first, "")):
            raise ConfigError(
                f"The sets {first} and {second} cannot be distinguished by the names of their "
                f"images, which begin with {unique_name(first, '')} and {unique_name(second, '')}. "
                "Rename one of them."
            )

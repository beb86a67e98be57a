"""Options of ``--resume`` that a finished run would ignore."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from latentfm_core.config import Config, config_from_mapping
from latentfm_core.errors import CheckpointError
from latentfm_core.names import shown
from latentfm_core.training.checkpoint import CheckpointHeader
from latentfm_core.training.extending import MAY_CHANGE
from latentfm_core.training.options import RunOptions
from latentfm_core.training.resuming import resumed_options

_OPTIONS = {
    "data.images": "--images",
    "data.masks": "--masks",
    "data.folder": "--data",
    "data.split_file": "--split",
    "data.group_file": "--group-file",
    "data.group_column": "--group-column",
    "data.mask_threshold": "--mask-threshold",
    "data.reading.channel": "--channel",
    "data.reading.mask_channel": "--mask-channel",
    "training.seed": "--seed",
}
_WITHOUT_RESULT = (
    "training.device",
    "training.precision",
    "training.checkpoint_",
    "data.cache",
    "data.skip_",
    "data.reading.max_",
    "data.reading.follow_links",
    "data.reading.keep_numbers",
)
"""Settings that say how a run is done, or which files are refused: nothing is lost without them."""


def reject_ignored(checkpoint: CheckpointHeader, config: Config, options: RunOptions) -> None:
    """Reject settings and options that change nothing, because the run is finished.

    Raises
    ------
    CheckpointError
        The message names them.
    """
    resumed_options(options, checkpoint)  # rejects another initial model
    # Missing settings of an older version have their defaults.
    stored = config_from_mapping(checkpoint.config).to_json()
    ignored = [
        f"{_OPTIONS[name]} ({name})" if name in _OPTIONS else name
        for name in _different(stored, config.to_json())
        if not name.startswith(_WITHOUT_RESULT) and name not in MAY_CHANGE
    ]
    if options.card and (checkpoint.run is None or options.card != checkpoint.run.card):
        ignored.append("--card")
    if options.changed_data != "reject":
        ignored.append("--changed-data")
    if ignored:
        out = shown(options.out)
        raise CheckpointError(
            f"The run in {out} is finished and would ignore {', '.join(ignored)}. Leave this out. "
            "To train on other images or with other settings, start a new run from its model: "
            f"--init {out} with another --out."
        )


def _different(
    stored: Mapping[str, Any], now: Mapping[str, Any], before: str = ""
) -> Iterator[str]:
    """Yield the dotted names of settings whose value has changed to one other than None."""
    for name, value in now.items():
        known = stored.get(name)
        if isinstance(value, Mapping) and isinstance(known, Mapping):
            yield from _different(known, value, f"{before}{name}.")
        elif value != known and value is not None:
            yield before + name

"""Model card of a training run, validated before the first image is read."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from latentfm_core.config import Config
from latentfm_core.config.explain import explained, located
from latentfm_core.datasets.splits import Split
from latentfm_core.errors import ConfigError
from latentfm_core.model_io.card import ModelCard, WeightsInfo
from latentfm_core.names import model_id
from latentfm_core.output.paths import printable
from latentfm_core.output.sidecar import versions
from latentfm_core.training.checkpoint import Position

MAX_COMMANDS = 18_000
"""Maximum number of characters of all commands on a card."""
_OWN = ("config", "created", "training", "weights", "format_version")
"""Card keys that a run writes automatically."""


def card_fields(
    written: Mapping[str, Any],
    config: Config,
    *,
    name: str,
    commands: Sequence[str],
    position: Position,
    split: Split,
    device: str,
) -> dict[str, Any]:
    """Return the fields of a run's card except ``weights``.

    Parameters
    ----------
    written
        Hand-written fields: title, data, licence, ...
    """
    data = written.get("data", {})
    counts = {f"n_{part}": len(getattr(split, part)) for part in ("train", "val", "test")}
    return {
        "id": model_id(name),
        **written,
        "created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "config": config.to_json(),
        "data": {**data, **counts} if isinstance(data, Mapping) else data,
        "training": {
            "command": _joined(commands),
            "seed": config.training.seed,
            "seconds": round(position.seconds, 1),
            "device": device,
            "versions": versions(),
            "epochs": {stage: round(done, 2) for stage, done in position.epochs.items()},
        },
        "metrics": position.metrics,
    }


def portable(config: Config) -> Config:
    """Return `config` without the paths of this machine, for model cards."""
    paths: dict[str, Any] = dict.fromkeys(("images", "masks", "folder", "split_file", "cache"))
    paths["sets"] = ()
    grouping = {"group_file": None, "group_column": None}
    data = config.data.model_copy(update={**paths, **grouping})
    return config.model_copy(update={"data": data})


def check_card(written: Mapping[str, Any], config: Config, name: str) -> None:
    """Check that the card of a run can be written at its end.

    Raises
    ------
    ConfigError
        If a key is unknown or a value cannot be used; the message names each one.
    """
    reserved = [key for key in _OWN if key in written]
    if reserved:
        raise ConfigError(
            f"The card cannot set {', '.join(reserved)}: a run writes these itself. Leave them out."
        )
    fields = card_fields(
        written,
        config,
        name=name,
        commands=(),
        position=Position("done"),
        split=Split(()),
        device="",
    )
    weights = WeightsInfo(sha256="0" * 64, size_bytes=1, dtype="float16")
    try:
        ModelCard.model_validate({**fields, "weights": weights})
    except ValidationError as error:
        lines = [_explained(item) for item in error.errors()[:10]]
        raise ConfigError("The card cannot be used:\n  " + "\n  ".join(lines)) from None


def _explained(item: ErrorDetails) -> str:
    location, path = item["loc"], located(item) or "card"
    if item["type"] != "extra_forbidden":
        return f"{path}: {explained(item)}"
    known = list(ModelCard.model_fields)
    if location[0] == "data":
        known = ["name", "source", "licence", "split"]
    close = difflib.get_close_matches(str(location[-1]), known, 1, 0.5)
    hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"
    return f"{path}: unknown key; {hint}"


def _joined(commands: Sequence[str]) -> str:
    """Return the commands, one per line; if there are too many, the first and last ones."""
    lines = [printable(command)[:MAX_COMMANDS] for command in commands]
    first = lines[:1]
    rest: list[str] = []
    room = MAX_COMMANDS - sum(map(len, first))
    for number, line in enumerate(reversed(lines[1:])):
        if len(line) + 1 > room:
            rest.append(f"... and {len(lines) - 1 - number} more before these")
            break
        room -= len(line) + 1
        rest.append(line)
    return "\n".join([*first, *reversed(rest)])

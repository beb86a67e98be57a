"""Read the environment of a launcher such as ``torchrun``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from latentfm_core.errors import ConfigError

_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@dataclass(frozen=True)
class Launch:
    """Rank of this process among those started together.

    Attributes
    ----------
    rank, size
        Index of this process, from 0, and number of processes on all machines.
    local_rank, local_size
        The same on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process logs and writes for all."""
        return self.rank == 0


def read_launch(environment: Mapping[str, str] | None = None) -> Launch:
    """Read the launcher's environment variables; without them, a single process.

    Raises
    ------
    ConfigError
        If the variables are inconsistent.
    """
    variables = os.environ if environment is None else environment
    # Some clusters set one or two of them for every process that they start.
    if any(name not in variables for name in _NAMES):
        return Launch()
    try:
        rank, size, local_rank, local_size = (int(variables[name]) for name in _NAMES)
    except ValueError:
        size = 0
    if not size or not (0 <= rank < size and 0 <= local_rank < local_size <= size):
        values = ", ".join(f"{name}={variables[name]}" for name in _NAMES)
        raise ConfigError(f"The launcher's variables are inconsistent: {values}. Use torchrun.")
    return Launch(rank, size, local_rank, local_size)

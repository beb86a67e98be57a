"""Training that the processes of `test_distributed` run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from latentfm_core.config import config_from_mapping
from latentfm_core.torchrun import read_launch
from latentfm_core.training.trainer import RunOptions, Trainer


def main(config: str, out: str, steps: str) -> None:
    """Train; only the second process is asked to stop, after `steps` steps."""
    left = int(steps)

    def asked_to_stop() -> bool:
        nonlocal left
        left -= 1
        return read_launch().rank == 1 and left < 0

    settings = config_from_mapping(json.loads(Path(config).read_text()))
    card = Trainer(settings, RunOptions(Path(out), should_stop=asked_to_stop)).run()
    if card is not None:
        sys.exit("the run was not stopped")


if __name__ == "__main__":
    main(*sys.argv[1:])

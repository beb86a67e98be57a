"""Clock of a time budget: wall time or processor time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import patch

from benchmarks.accuracy import loop as baselines
from benchmarks.accuracy.settings import Clock
from latentfm_core.training import loop as presets


@contextmanager
def counting(clock: Clock) -> Iterator[None]:
    """Make both training loops use `clock`.

    With one thread, processor time equals the time on a dedicated core at
    any load of the machine. The package itself uses wall time, as users experience it.
    """
    if clock == "wall":
        yield
        return
    processor = SimpleNamespace(monotonic=time.process_time, perf_counter=time.perf_counter)
    with patch.object(baselines, "time", processor), patch.object(presets, "time", processor):
        yield

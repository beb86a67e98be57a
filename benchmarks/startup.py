"""Startup cost of the installed plugin in napari.

    scripts/with_display.sh .venv/bin/python -m benchmarks.startup --rounds 7

napari reads the manifest of every plugin and registers its commands, menus and settings. Both are
timed in a separate process, with an open window and the plugin disabled before: the
difference of two full starts is far below their variation. Prints one JSON object;
milliseconds are processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import Any

CHILD = """
import json, sys, time
from napari.settings import get_settings
get_settings().plugins.disabled_plugins = {"napari-latentfm"}
import napari
from npe2 import PluginManager, PluginManifest
begin = time.process_time()
viewer = napari.Viewer(show=False)
window = time.process_time() - begin
begin = time.process_time()
PluginManifest.from_distribution("napari-latentfm")
manifest = time.process_time() - begin
begin = time.process_time()
PluginManager.instance().enable("napari-latentfm")
registration = time.process_time() - begin
print(json.dumps({
    "window_ms": 1000 * window,
    "manifest_ms": 1000 * manifest,
    "registration_ms": 1000 * registration,
    "imported": sorted({m for m in sys.modules
                        if m.split(".")[0] in ("napari_latentfm", "latentfm_core", "torch")}),
}))
viewer.close()
"""


def start() -> dict[str, Any]:
    """Start napari once; return the timings."""
    # Without a file for its settings napari does not write them when a plugin is enabled, which
    # is not part of a start.
    environment = {**os.environ, "NAPARI_CONFIG": ""}
    command = [sys.executable, "-c", CHILD]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(rounds: int) -> dict[str, Any]:
    """Return medians, and our imported modules."""
    every = [start() for _ in range(rounds)]
    names = ("manifest_ms", "registration_ms", "window_ms")
    medians = {name: round(statistics.median(each[name] for each in every), 1) for name in names}
    worst = max(each["manifest_ms"] + each["registration_ms"] for each in every)
    return {
        "rounds": rounds,
        **medians,
        "worst_sum_ms": round(worst, 1),
        "imported": every[0]["imported"],
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    print(json.dumps(measure(parser.parse_args().rounds), indent=2))


if __name__ == "__main__":
    main()

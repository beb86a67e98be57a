#!/usr/bin/env bash
# Runs a command with a display: the existing one, else a virtual one (Xvfb).
# LATENTFM_VIRTUAL_DISPLAY=1 lets the command detect a virtual display.
set -euo pipefail

if [ "$(uname -s)" != Linux ] || [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
    exec "$@"
fi
export LATENTFM_VIRTUAL_DISPLAY=1
exec xvfb-run --auto-servernum --server-args="-screen 0 1280x800x24" "$@"

#!/usr/bin/env bash
# Installs the system libraries that a napari window needs on Debian and Ubuntu, where it may
# (root); otherwise prints what to install. Does nothing if all are installed, and nothing
# on macOS and Windows, where Qt includes what it needs.
set -euo pipefail

packages=(xvfb xauth libegl1 libgl1 libgl1-mesa-dri libxkbcommon-x11-0 libxcb-cursor0
    libxcb-icccm4 libxcb-keysyms1 libxcb-image0 libxcb-render-util0 libxcb-shape0
    libxcb-xinerama0 libdbus-1-3)

[ "$(uname -s)" = Linux ] && command -v dpkg-query >/dev/null || exit 0

missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "These system packages are missing; a window may not open without them:" >&2
    echo "    sudo apt-get install ${missing[*]}" >&2
    # On a machine with a display, Qt's libraries may be installed in another way.
    if [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] || command -v xvfb-run >/dev/null; then
        exit 0
    fi
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq --yes --no-install-recommends "${missing[@]}" >/dev/null

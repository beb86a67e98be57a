#!/usr/bin/env bash
# Builds source archive and wheel, installs the wheel alone in an empty environment, and runs the demo
# and the commands from an empty folder, to find files missing in the wheel.
#
#   scripts/check_wheel.sh [FOLDER]     FOLDER gets the archives (dist)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$root/dist}
python=${PYTHON:-$root/.venv/bin/python}
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

rm -f "$out"/*.whl "$out"/*.tar.gz
"$python" -m build --no-isolation --outdir "$out" "$root"
wheel=$(ls "$out"/*.whl)

"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --constraint "$root/constraints.txt" "$wheel[pyside6]"
cd "$work"
bin=$work/venv/bin
"$root/scripts/with_display.sh" "$bin/python" -m napari_latentfm.demo --screenshot "$work/window.png"
"$bin/npe2" validate napari-latentfm
"$bin/python" - <<'END'
from importlib import resources
import napari_latentfm, shutil
assert "site-packages" in napari_latentfm.__file__, napari_latentfm.__file__
shutil.copy(str(resources.files("napari_latentfm") / "samples" / "dermoscopy_demo.png"), "lesion.png")
END
"$bin/latentfm-predict" lesion.png --model isic2018 --samples 4 --out predicted
test -s predicted/lesion.json
for name in "$bin"/latentfm-*; do "$name" --help > /dev/null; done
cp "$work/window.png" "$out/demo.png"
echo "$wheel works on its own; its window: $out/demo.png"

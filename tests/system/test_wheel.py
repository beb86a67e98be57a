"""Contents of the wheel and of the source archive."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("latentfm_core", "napari_latentfm")


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return wheel and source archive; the wheel is built from the archive."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("*.whl")
    (source,) = out.glob("*.tar.gz")
    return wheel, source


def test_the_wheel_contains_only_the_packages(archives: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(archives[0]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    source = ROOT / "src"
    tracked = {
        path.relative_to(source).as_posix()
        for package in PACKAGES
        for path in (source / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == tracked
    for needed in (
        *(f"{package}/py.typed" for package in PACKAGES),
        "latentfm_core/presets/default.toml",
        "napari_latentfm/napari.yaml",
        "napari_latentfm/icon.png",
        "latentfm_core/weights/isic2018/model.safetensors",
        "latentfm_core/weights/isic2018/model.json",
        "napari_latentfm/samples/dermoscopy_demo.png",
    ):
        assert needed in names
    assert not [name for name in names if name.endswith((".pkl", ".pt", ".pth", ".npz", ".ckpt"))]


def test_the_wheel_has_the_right_metadata(archives: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(archives[0]) as wheel:
        (place,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        facts = message_from_bytes(wheel.read(place))
        (entry,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
        entries = wheel.read(entry).decode()
    assert "Framework :: napari" in facts.get_all("Classifier", [])
    base = [each for each in facts.get_all("Requires-Dist", []) if "extra ==" not in each]
    bare = [each for each in base if each.lower().startswith(("pyqt", "pyside", "napari["))]
    assert not bare, "a Qt binding is the user's choice"
    assert not [each for each in base if "<" in each or "==" in each], "no upper pins"
    assert "[napari.manifest]\nnapari-latentfm = napari_latentfm:napari.yaml" in entries
    # From the tags, or the fallback for an archive without history.
    assert facts["Version"].startswith(tuple("0123456789"))
    assert facts["Version"] in archives[0].name


def test_the_source_archive_can_be_tested(archives: tuple[Path, Path]) -> None:
    with tarfile.open(archives[1]) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    for needed in ("Makefile", "constraints.txt", "tests/conftest.py", "docs/conf.py", "LICENSE"):
        assert needed in names
    assert not [name for name in names if name.startswith((".venv", "runs", "demo/", ".ci"))]

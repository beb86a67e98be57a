"""Allowed imports between packages: each imports only packages defined before it.

A new import either follows this order, or changes it here and in docs/architecture.md.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
FORMER = {"data", "queue", "widgets"}
"""Import paths of the first version, which the page describes in a sentence."""

CORE = {
    "bars": "",
    "colours": "",
    "names": "",
    "errors": "",
    "once": "names",
    "sampling_record": "",
    "types": "errors sampling_record",
    "progress": "",
    "torchrun": "errors",
    "versions": "",
    "vocabulary": "",
    "files": "errors once",
    "metrics": "types",
    "measures": "types",
    "config": "errors files names",
    "images": "config errors files names once types",
    "datasets": "config errors files images measures names once types vocabulary",
    "data": "datasets images",
    "loggers": "errors files images",
    "models": "config",
    "flow": "config",
    "correction": "errors flow types",
    "prompts": "config correction datasets errors files images measures names types vocabulary",
    "uncertainty": "config correction images measures metrics progress types",
    "model_io": "config datasets errors files models names once uncertainty vocabulary",
    "inference": "config correction errors files flow images model_io models names once progress "
    "prompts types uncertainty vocabulary",
    "worker": "config errors inference",
    "evaluation": "config errors images inference metrics names prompts types uncertainty "
    "vocabulary",
    "output": "config errors evaluation files images metrics names types versions",
    "prediction": "config errors files images inference names output progress torchrun types",
    "report": "config errors evaluation files images inference metrics output types uncertainty "
    "vocabulary",
    "training": "bars colours config datasets errors files flow images inference loggers measures "
    "metrics model_io models names once output prompts report torchrun types vocabulary",
    "finetuning": "config datasets errors evaluation files inference model_io names torchrun "
    "training worker",
    "annotation": "colours config errors files images measures names output types versions",
    "worklist": "annotation config datasets errors files images measures names output types "
    "uncertainty",
    "adaptation": "annotation config datasets errors evaluation files images inference metrics "
    "model_io models names output prompts training types uncertainty vocabulary worker",
    "export": "config errors files flow images inference model_io models names output prompts "
    "types uncertainty",
    "cli": "bars config datasets errors evaluation export files finetuning images inference "
    "loggers model_io names once output prediction progress prompts report torchrun training "
    "types uncertainty versions vocabulary",
}
"""Each package or module of the core, lowest first, with what it may import."""

PLUGIN = {
    "notices": "",
    "preferences": "",
    "settings": "",
    "reading": "preferences settings",
    "sample_data": "",
    "background": "",
    "layers": "",
    "ui": "layers preferences",
    "results": "background layers",
    "annotation": "background layers notices preferences reading results settings ui",
    "sampling": "annotation background layers notices preferences results ui",
    "fixing": "annotation background layers results ui",
    "prompting": "annotation background layers results sampling ui",
    "review": "annotation background fixing layers notices preferences prompting results sampling "
    "ui",
    "worklist": "annotation background layers notices preferences reading results sampling "
    "settings ui",
    "adapting": "background preferences reading sampling ui worklist",
    "queue": "worklist",
    "finetuning": "background notices preferences reading results sampling ui",
    "dock": "adapting annotation background finetuning layers notices preferences prompting "
    "reading results review sampling ui worklist",
    "demo": "dock",
    "widgets": "review sampling",
}
"""The same of the plugin; all of it may import the core."""

ORDERS = {"latentfm_core": CORE, "napari_latentfm": PLUGIN}


def arrows(root: str) -> Iterator[tuple[str, str]]:
    """Yield each module of a package and each package or module of the project it imports."""
    for path in sorted((SOURCE / root).rglob("*.py")):
        inside = path.relative_to(SOURCE / root).with_suffix("").parts
        if inside == ("__init__",):
            continue  # the public names
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                assert node.level == 0, f"{path} has a relative import"
                found = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in found:
                top, *rest = name.split(".")
                if top != root and top in ORDERS:
                    yield "/".join(inside), top
                elif top == root and rest[0] != inside[0]:
                    yield "/".join(inside), rest[0]


@pytest.mark.parametrize("root", ORDERS)
def test_imports_follow_the_order(root: str) -> None:
    allowed = {name: set(below.split()) for name, below in ORDERS[root].items()}
    if root == "napari_latentfm":
        allowed = {name: {*below, "latentfm_core"} for name, below in allowed.items()}
    wrong = {
        f"{module} -> {target}"
        for module, target in arrows(root)
        if target not in allowed.get(module.split("/")[0], ())
    }
    assert not wrong


@pytest.mark.parametrize("root", ORDERS)
def test_the_order_has_no_upward_import_and_no_unused_entry(root: str) -> None:
    order = list(ORDERS[root])
    used = {(module.split("/")[0], target) for module, target in arrows(root)}
    for name, below in ORDERS[root].items():
        assert set(below.split()) <= set(order[: order.index(name)]), name
        assert set(below.split()) <= {target for source, target in used if source == name}, name
    present = {path.stem for path in (SOURCE / root).iterdir() if path.suffix == ".py"}
    present |= {path.parent.name for path in (SOURCE / root).glob("*/__init__.py")}
    assert present - {"__init__"} == set(order)


@pytest.mark.parametrize("root", ORDERS)
def test_the_architecture_page_shows_this_order(root: str) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = page.split(f"| `{root}` | contents |\n")[1].split("\n\n")[0]
    rows = {
        name: number
        for number, line in enumerate(table.splitlines())
        for name in re.findall(r"`(\w+)(?:\.py|/)`", line.split("|")[1])
    }
    assert rows.keys() - {"weights"} == ORDERS[root].keys() - FORMER
    for name, below in ORDERS[root].items():
        assert all(rows[each] <= rows[name] for each in below.split() if name not in FORMER), name

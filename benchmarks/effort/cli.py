"""Command line of the effort benchmark.

    python -m benchmarks.effort --dataset busi --accepted 50 --others 200 --out runs/effort/busi

The same command continues an interrupted run. The optimiser state is not saved, so the
figures differ slightly from those of an uninterrupted run.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from benchmarks.effort.annotator import Effort
from benchmarks.effort.data import Selection, select
from benchmarks.effort.order import by_uncertainty
from benchmarks.effort.work import (
    ResultFile,
    dice_without_prompt,
    work_adapted,
    work_afterwards,
    work_plain,
)
from benchmarks.prompts.bootstrap import interval
from benchmarks.prompts.datasets import DATASETS
from latentfm_core.adaptation.session import AdaptationSession
from latentfm_core.cli.common import print_line, run_cli
from latentfm_core.config import ADAPTATION, AdaptationConfig
from latentfm_core.inference.device import describe, resolve_device, resolve_precision
from latentfm_core.model_io.bundled import resolve_model
from latentfm_core.model_io.card import read_card
from latentfm_core.output.sidecar import now, versions

PROGRAM = "python -m benchmarks.effort"
AT = (5, 10, 20, 50)
FORGETTING = "isic2018"
AFTERWARDS = "afterwards"
ARMS = ("plain", "adapted")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", choices=sorted(DATASETS), default="busi")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="generalist")
    parser.add_argument("--accepted", type=int, default=50, help="images to work through")
    parser.add_argument(
        "--uncertain-of",
        type=int,
        default=0,
        metavar="N",
        help="work through the most uncertain of N images, not through random ones",
    )
    parser.add_argument("--others", type=int, default=200, help="limit of images to compare on")
    parser.add_argument("--forgetting", type=int, default=0, help="limit of images of ISIC-2018")
    parser.add_argument(
        "--afterwards", type=int, default=0, help="other images to annotate with both models"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the order of the images")
    parser.add_argument("--tuning", action="store_true", help="images for choices of settings")
    parser.add_argument(
        "--expert-masks", action="store_true", help="accept the expert's masks, never answers"
    )
    parser.add_argument("--only-adapted", action="store_true", help="without the plain arm")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of the adaptation",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    return parser


def adaptation_config(overrides: Sequence[str]) -> AdaptationConfig:
    """Return the settings of the adaptation with ``key=value`` overrides."""
    given = dict(item.split("=", 1) for item in overrides)
    return AdaptationConfig.model_validate(ADAPTATION.model_dump() | given)


def run(args: argparse.Namespace, command: str) -> int:
    """Run the benchmark, or continue it; return the exit code."""
    torch.set_num_threads(1)
    config = adaptation_config(args.overrides)
    card = read_card(resolve_model(args.model))
    listed = max(args.accepted, args.uncertain_of)
    selection = select(args.dataset, args.data, listed, args.others, args.seed, args.tuning)
    device = resolve_device("cpu")
    settings = {
        "dataset": args.dataset,
        "tuning": args.tuning,
        "model": {"id": card.id, "sha256": card.weights_sha256},
        "adaptation": config.model_dump(mode="json"),
        "worked_through": list(selection.worked_through),
        "others": list(selection.others),
        "device": describe(device, resolve_precision("auto", device)),
    }
    if args.expert_masks:
        settings["expert_masks"] = True
    if args.uncertain_of:
        settings["uncertain_of"] = listed
    result = ResultFile(args.out / "result.json", settings)
    result.values |= {"command": command, "created": now(), "versions": versions()}
    session = AdaptationSession(args.model, config)

    def compare(count: int) -> None:
        found: dict[str, Any] = {"used": session.comparison.used}
        found["none"], found["box"] = dice_without_prompt(
            session.adapted, selection, f"after {count}"
        )
        result.values["others"][str(count)] = found

    if "0" not in result.values["others"]:
        none, box = dice_without_prompt(session.present, selection, "before")
        result.values["others"]["0"] = {"used": False, "none": none, "box": box}
        result.write()
    at = sorted({*AT, args.accepted})
    done = [effort.name for effort in result.efforts("adapted")]
    names: Iterable[str] = selection.worked_through[len(done) :]
    if args.uncertain_of:
        names = by_uncertainty(session, selection, selection.worked_through, done)
    names = islice(names, args.accepted - len(done))
    work_adapted(session, args.out, selection, names, result, at, compare, args.expert_masks)
    if not args.only_adapted:
        work_plain(args.model, selection, result)
    if args.afterwards and AFTERWARDS not in result.values:
        names = selection.others[: args.afterwards]
        result.values[AFTERWARDS] = work_afterwards(session, names, selection)
        result.write()
    if args.forgetting and FORGETTING not in result.values:
        other = select(FORGETTING, args.data, 1, args.forgetting, args.seed, False)
        result.values[FORGETTING] = _forgetting(session, other)
        result.write()
    print_line(page(result))
    return 0


def _forgetting(session: AdaptationSession, other: Selection) -> dict[str, list[float]]:
    before, before_box = dice_without_prompt(session.present, other, "ISIC before")
    after, after_box = dice_without_prompt(session.adapted, other, "ISIC after")
    return {"before": before, "after": after, "before_box": before_box, "after_box": after_box}


def page(result: ResultFile) -> str:
    """Return the figures as Markdown tables, with 95 % bootstrap intervals over the images."""
    values = result.values
    before = values["others"]["0"]
    lines = [
        f"| accepted | Dice without a prompt, {len(before['none'])} others | gain | with a box "
        "| used |",
        "| --- | --- | --- | --- | --- |",
    ]
    for count, found in values["others"].items():
        gain = [b - a for a, b in zip(before["none"], found["none"], strict=True)]
        used = "yes" if found["used"] else "no"
        change = "" if count == "0" else _mean(gain, "+.3f")
        lines.append(
            f"| {count} | {_mean(found['none'])} | {change} | {_mean(found['box'])} | {used} |"
        )
    plain, adapted = result.efforts("plain"), result.efforts("adapted")
    lines += ["", "Images of the list:", "", *_effort_lines(plain, adapted)]
    if AFTERWARDS in values:
        after = {arm: [Effort(**each) for each in values[AFTERWARDS][arm]] for arm in ARMS}
        lines += ["", "Other images, with the last adapted model:", ""]
        lines += _effort_lines(after["plain"], after["adapted"])
    seconds = values.get("seconds", 0.0) / max(1, len(adapted))
    lines.append(f"Adaptation: {seconds:.1f} s of one core per image.")
    if FORGETTING in values:
        found = values[FORGETTING]
        for kind, ending in (("without a prompt", ""), ("with a box", "_box")):
            pairs = zip(found[f"before{ending}"], found[f"after{ending}"], strict=True)
            change = _mean([b - a for a, b in pairs], "+.3f")
            lines.append(f"Change on {len(found['before'])} ISIC images {kind}: {change}.")
    return "\n".join(lines)


def _effort_lines(plain: list[Effort], adapted: list[Effort]) -> list[str]:
    lines = ["| | clicks per image | reached 0.90 | Dice before the first click |"]
    lines.append("| --- | --- | --- | --- |")
    for name, efforts in (("original model", plain), ("with adaptation", adapted)):
        if efforts:
            clicks = _mean([float(each.clicks) for each in efforts], ".2f")
            reached = sum(each.reached for each in efforts)
            first = _mean([each.first for each in efforts])
            lines.append(f"| {name} | {clicks} | {reached} of {len(efforts)} | {first} |")
    total = sum(each.clicks for each in plain)
    if len(plain) == len(adapted) and total:
        saved = [float(a.clicks - b.clicks) for a, b in zip(plain, adapted, strict=True)]
        lines += ["", f"Clicks saved per image: {_mean(saved, '.2f')}, {sum(saved) / total:.0%}."]
    return lines


def _mean(values: list[float], form: str = ".3f") -> str:
    ends = interval(values, [str(i) for i in range(len(values))])
    mean = format(statistics.fmean(values), form)
    return mean if ends is None else f"{mean} [{ends[0]:{form}}, {ends[1]:{form}}]"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = shlex.join([*PROGRAM.split(), *arguments])
    return run_cli(lambda args: run(args, command), build_parser(), arguments, package="benchmarks")

"""Readers under test: how to make a case, and what to call with it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from latentfm_core.adaptation.comparison import compare
from latentfm_core.adaptation.record import RECORD, AdaptationFolder
from latentfm_core.annotation.autosave import AutosaveStore
from latentfm_core.annotation.marks import MarkStore, StoredMarks
from latentfm_core.annotation.reading import read_annotation
from latentfm_core.config import (
    ADAPTATION,
    Config,
    DataConfig,
    ReadingConfig,
    SamplingConfig,
    load_config,
)
from latentfm_core.datasets.folds import read_folds
from latentfm_core.datasets.layouts import read_layout, with_classes_of_folder
from latentfm_core.datasets.splits import make_split, read_groups, read_split
from latentfm_core.finetuning.finetune import _read_parent_facts
from latentfm_core.images.channel_names import read_channel_axis
from latentfm_core.images.large import PixelField
from latentfm_core.images.open_large import open_large
from latentfm_core.images.orientation import drawn_as_read
from latentfm_core.images.read import read_image, read_labels, read_mask, to_rgb
from latentfm_core.images.tiff_stack import TiffStack
from latentfm_core.model_io.domain import read_domain
from latentfm_core.model_io.file_names import DOMAIN
from latentfm_core.model_io.folder import load_model, read_card
from latentfm_core.output.result import ResultPlan, _older_files, is_finished
from latentfm_core.prompts.files import read_prompts
from latentfm_core.training.checkpoint import read_checkpoint
from latentfm_core.training.trained_on import read_signatures, sets_of_run
from latentfm_core.worklist.state import WorkList
from napari_latentfm import preferences
from robustness.fuzz import seeds
from robustness.fuzz.cases import Target
from robustness.fuzz.mutate import mutate_bytes, mutate_json, mutate_lines
from robustness.fuzz.seeds import Files

LIMITS = ReadingConfig(max_megapixels=4)


def _pick_pictures(
    pictures: Callable[[], tuple[tuple[str, bytes], ...]],
) -> Callable[[random.Random], Files]:
    def make(rng: random.Random) -> Files:
        every = pictures()
        suffix, content = rng.choice(every)
        others = [other for _, other in every]
        if rng.random() < 0.05:
            suffix = rng.choice(every)[0]
        return {f"case{suffix}": mutate_bytes(rng, content, others)}

    return make


def _only(folder: Path) -> Path:
    return next(folder.iterdir())


def _read_image(folder: Path) -> object:
    return to_rgb(read_image(_only(folder), LIMITS))


def _read_mask(folder: Path) -> object:
    path = _only(folder)
    if path.stat().st_size % 2:
        return read_labels(path, 3, LIMITS)
    return read_mask(path, 100 if path.stat().st_size % 3 else None, LIMITS)


def _read_stack(folder: Path) -> object:
    """Read some planes, and all pages of a short stack."""
    with TiffStack(_only(folder), limits=LIMITS) as stack:
        if len(stack) < 10:
            stack.check()
        return [to_rgb(stack.read(number)) for number in range(min(4, len(stack)))]


def _read_channels(folder: Path) -> object:
    return read_channel_axis(_only(folder))


def _make_pyramid(rng: random.Random) -> Files:
    files = rng.choice(seeds.pyramids())
    candidates = [name for name in files if "/." in name or name.endswith(".json")]
    names = candidates if rng.random() < 0.7 else list(files)
    return _damage_some(rng, files, names)


def _read_pyramid(folder: Path) -> object:
    """Read a part as a tile does."""
    with open_large(folder / "a.zarr", LIMITS) as image:
        return [PixelField(image, scale).read(0, 0, 32, 32) for scale in (1.0, 0.5)]


def _damage(rng: random.Random, name: str, content: bytes) -> bytes:
    text = name.endswith((".json", ".zarray", ".zattrs", ".zgroup"))
    if text and rng.random() < 0.8:
        return mutate_json(rng, content)
    return mutate_bytes(rng, content, [])


def _damage_some(rng: random.Random, files: Files, names: list[str]) -> Files:
    chosen = rng.sample(names, rng.choice((1, min(2, len(names)))))
    return {
        name: _damage(rng, name, content) if name in chosen else content
        for name, content in files.items()
    }


def _make_annotation(rng: random.Random) -> Files:
    files = rng.choice(seeds.annotated())
    return _damage_some(rng, files, list(files))


def _read_annotation(folder: Path) -> object:
    path = next(p for p in sorted(folder.iterdir()) if p.suffix != ".json")
    drawn_as_read(path, 6, np.zeros((2, 2), np.uint8))
    return read_annotation(path, LIMITS)


def _make_autosave(rng: random.Random) -> Files:
    """Damage states; half of the time fix their hashes, as an attacker would."""
    files = _damage_some(rng, seeds.autosaves(), list(seeds.autosaves()))
    if rng.random() < 0.5:
        for name in [name for name in files if name.endswith(".tif")]:
            card = name.replace(".tif", ".json")
            files[card] = _declare(files[card], {
                "tiff_bytes": len(files[name]),
                "tiff_digest": hashlib.blake2b(files[name], digest_size=16).hexdigest(),
            })  # fmt: skip
    return files


def _declare(content: bytes, declared: dict[str, object], inside: str = "") -> bytes:
    """Write correct sizes and hashes to a JSON file, if it is still valid."""
    try:
        card = json.loads(content)
        (card[inside] if inside else card).update(declared)
        return json.dumps(card).encode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return content


def _read_autosave(folder: Path) -> object:
    store = AutosaveStore(folder)
    states = store.history(seeds.SIGNATURE)
    found = store.newest(seeds.SIGNATURE, LIMITS)
    store.save(seeds.SIGNATURE, np.zeros((4, 4), np.uint8), seeds._facts((4, 4), "YX"))
    return states, found


def _read_marks(folder: Path) -> object:
    store = MarkStore(folder)
    marks = store.read(seeds.SIGNATURE)
    store.save(seeds.SIGNATURE, marks or StoredMarks())
    return marks


def _make_worklist(rng: random.Random) -> Files:
    state = "latentfm_annotations/worklist.json"
    return _damage_some(rng, seeds.worklist(), [state])


def _read_worklist(folder: Path) -> object:
    work = WorkList(folder)
    for name in work.names:
        work.update(name, state="in progress", seconds=work.item(name).seconds + 1)
        for path in (work.annotation(name), work.unfinished(name), work.path(name)):
            if not path.resolve().is_relative_to(folder.resolve()):
                raise AssertionError(f"{path} is outside")
        kept = work.kept(name)
        if kept is not None:
            read_annotation(kept, LIMITS)
    return work.items()


def _make_model(rng: random.Random) -> Files:
    """Damage card or weights; mostly correct the card's size and hash afterwards."""
    files = dict(seeds.model())
    card, weights = "model.json", "model.safetensors"
    if rng.random() < 0.5:
        files[card] = _damage(rng, card, files[card])
    else:
        files[weights] = _damage_weights(rng, files[weights])
    if rng.random() < 0.8:
        digest = hashlib.sha256(files[weights]).hexdigest()
        declared = {"sha256": digest, "size_bytes": len(files[weights])}
        files[card] = _declare(files[card], declared, "weights")
    return files


def _damage_weights(rng: random.Random, content: bytes) -> bytes:
    """Damage a safetensors file: its bytes, or the JSON of its header."""
    if rng.random() < 0.4:
        return mutate_bytes(rng, content, [])
    size = struct.unpack("<Q", content[:8])[0]
    header = mutate_json(rng, content[8 : 8 + size])
    declared = len(header) if rng.random() < 0.95 else rng.choice((0, 2**31, 2**63, size))
    return struct.pack("<Q", declared) + header + content[8 + size :]


def _make_ensemble(rng: random.Random) -> Files:
    """Damage the card of an ensemble of two valid models, or one of theirs."""
    files = dict(seeds.ensemble())
    name = rng.choice(("ensemble.json", "ensemble.json", "fold_1/model.json"))
    files[name] = _damage(rng, name, files[name])
    return files


def _make_domain(rng: random.Random) -> Files:
    """Damage the training domain of a valid model."""
    files = dict(seeds.model_with_domain())
    files[DOMAIN] = _damage_weights(rng, files[DOMAIN])
    return files


def _read_domain(folder: Path) -> object:
    return read_domain(folder, read_card(folder))


def _make_checkpoint(rng: random.Random) -> Files:
    content = seeds.checkpoint()["checkpoint.safetensors"]
    if rng.random() < 0.5:
        return {"checkpoint.safetensors": _damage_weights(rng, content)}
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    key = rng.choice(("position", "config"))
    text = header["__metadata__"][key].encode()
    header["__metadata__"][key] = mutate_json(rng, text).decode("utf-8", "replace")
    packed = json.dumps(header).encode()
    return {"checkpoint.safetensors": struct.pack("<Q", len(packed)) + packed + content[8 + size :]}


def _read_checkpoint(folder: Path) -> object:
    """Read it, and load it into a network as resuming does."""
    import torch

    from latentfm_core.models.latentfm import LatentFM
    from latentfm_core.training.ema import EMA

    found = read_checkpoint(folder)
    if found.config["model"] != seeds.tiny().to_json()["model"]:
        return found
    network = LatentFM(seeds.tiny().model)
    found.restore_model(network)
    weights = network.flow_parameters()
    found.restore_ema(EMA(weights, 0.9))
    found.restore_optimizer(torch.optim.AdamW(weights))
    return found


def _text(name: str, content: bytes) -> Callable[[random.Random], Files]:
    def make(rng: random.Random) -> Files:
        if name.endswith(".json"):
            return {name: _damage(rng, name, content)}
        if rng.random() < 0.7:
            return {name: mutate_lines(rng, content)}
        return {name: mutate_bytes(rng, content, [])}

    return make


def _make_prompts(rng: random.Random) -> Files:
    return {"prompts.json": _damage(rng, "prompts.json", rng.choice(seeds.PROMPTS))}


def _read_prompts(folder: Path) -> object:
    found = read_prompts(folder / "prompts.json", LIMITS)
    return [found.read(name) for name in found.names if name], found.of(Path("a/x.png"))


def _read_split(folder: Path) -> object:
    file = folder / "split.json"
    read_split(file)
    return make_split(list("abcdef"), DataConfig(split_file=file))


def _make_nnunet(rng: random.Random) -> Files:
    """Damage the description; sometimes with unusual file names."""
    files = {"dataset.json": _damage(rng, "dataset.json", seeds.NNUNET)}
    for part in ("Tr", "Ts"):
        for case in rng.sample(("a", "b", "a_0000", "..", "c."), 3):
            channels = rng.choice((1, 1, 1, 3))
            for channel in range(channels):
                files[f"images{part}/{case}_{channel:04d}.png"] = b"x"
            files[f"labels{part}/{case}.png"] = b"x"
    return files


def _read_nnunet(folder: Path) -> object:
    layout = read_layout(folder, LIMITS)
    pairs = [pair for part in layout.parts for pair in layout.pairs(part, limits=LIMITS)]
    for pair in pairs:
        for path in (pair.image, *pair.masks, *pair.channels):
            if not path.resolve().is_relative_to(folder.resolve()):
                raise AssertionError(f"{path} is outside")
    return with_classes_of_folder(Config(data=DataConfig(folder=folder)))


def _read_result(folder: Path) -> object:
    plan = ResultPlan(folder, "a", ("mean_mask", "samples"), ("tiff",), 2)
    settings = SamplingConfig(n_samples=2, steps=4, threshold=0.5, calibrated=False)
    for path in _older_files(plan):
        if not path.resolve().is_relative_to(folder.resolve()):
            raise AssertionError(f"{path} is outside and would be removed")
    return is_finished(plan, settings, model_sha256="0" * 64)


def _read_adaptation(folder: Path) -> object:
    kept = AdaptationFolder(folder)
    kept.path.mkdir()
    (folder / RECORD).rename(kept.path / RECORD)
    record = kept.read()
    compare(record.tests, ADAPTATION)
    if not kept.model(record.version).resolve().is_relative_to(folder.resolve()):
        raise AssertionError("the model is outside")
    return kept.in_use(record.parent_sha256)


def _read_preferences(folder: Path) -> object:
    os.environ[preferences.HOME_VARIABLE] = str(folder)
    found = [preferences.get(name) for name in ("reading", "sampling", "queue", "")]
    preferences.put("queue", {"folder": "x"})
    return found


_PREFERENCES = json.dumps({"reading": {"max_megapixels": 8}, "queue": {"folder": "x"}}).encode()

TARGETS: dict[str, Target] = {
    "image": Target(_pick_pictures(seeds.images), _read_image, 30),
    "channels": Target(_pick_pictures(seeds.channels), _read_channels, 5),
    "stack": Target(_pick_pictures(seeds.stacks), _read_stack, 10),
    "zarr": Target(_make_pyramid, _read_pyramid, 6),
    "mask": Target(_pick_pictures(seeds.masks), _read_mask, 10),
    "annotation": Target(_make_annotation, _read_annotation, 10),
    "autosave": Target(_make_autosave, _read_autosave, 8),
    "marks": Target(_text(f"{seeds.SIGNATURE}.json", seeds.MARKS), _read_marks, 3),
    "worklist": Target(_make_worklist, _read_worklist, 6),
    "model": Target(_make_model, load_model, 10),
    "ensemble": Target(_make_ensemble, read_card, 5),
    "domain": Target(_make_domain, _read_domain, 4),
    "checkpoint": Target(_make_checkpoint, _read_checkpoint, 6),
    "config": Target(
        _text("config.toml", seeds.CONFIG), lambda folder: load_config(folder / "config.toml"), 8
    ),
    "prompts": Target(_make_prompts, _read_prompts, 4),
    "split": Target(_text("split.json", seeds.SPLIT), _read_split, 4),
    "folds": Target(
        _text("folds.json", seeds.FOLDS), lambda folder: read_folds(folder / "folds.json"), 3
    ),
    "run_sets": Target(_text("config.json", seeds.RUN_CONFIG), sets_of_run, 3),
    "signatures": Target(_text("images.json", seeds.SIGNATURES), read_signatures, 3),
    "nnunet": Target(_make_nnunet, _read_nnunet, 4),
    "groups": Target(
        _text("groups.csv", seeds.GROUPS),
        lambda folder: read_groups(folder / "groups.csv", "patient", list("abcdef")),
        3,
    ),
    "result": Target(_text("a.json", seeds.result_sidecar()), _read_result, 3),
    "learning": Target(
        _text("learning.json", seeds.parent_facts()),
        lambda folder: _read_parent_facts(folder / "learning.json"),
        1,
    ),
    "adaptation": Target(_text(RECORD, seeds.adaptation_record()), _read_adaptation, 2),
    "preferences": Target(_text("preferences.json", _PREFERENCES), _read_preferences, 1),
}

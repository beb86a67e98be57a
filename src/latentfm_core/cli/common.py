"""What the commands share: exit codes, messages, logging and the sampling options."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, get_args

from tqdm import tqdm

from latentfm_core.config import (
    READING,
    Precision,
    ReadingConfig,
    SamplingConfig,
    SolverName,
    reading_settings,
    sampling_settings,
)
from latentfm_core.errors import ConfigError, LatentFMError, ModelFolderError, ResourceError
from latentfm_core.inference.device import is_out_of_memory
from latentfm_core.inference.segmenter import Segmenter
from latentfm_core.store.bundled import bundled_models, resolve_model
from latentfm_core.store.folder import read_card

logger = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_DEFECT = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

PACKAGES = ("latentfm_core", "napari_latentfm")
MEMORY_HINT = "Lower the batch size, the number of samples or the image size"

_FLAGS = {
    "n_samples": "--samples",
    "steps": "--steps",
    "solver": "--solver",
    "seed": "--seed",
    "threshold": "--threshold",
    "batch_size": "--batch-size",
    "device": "--device",
    "precision": "--precision",
}

_CHOSEN = {"threshold": "the one fitted to the model, else 0.5"}
"""What decides where the settings leave it open."""


def run_cli(
    main: Callable[[argparse.Namespace], int | None],
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None = None,
    *,
    memory_hint: str = MEMORY_HINT,
) -> int:
    """Parse, run and turn whatever happens into a message on stderr and an exit code.

    ``--verbose`` and ``--quiet`` are added to `parser`.

    Parameters
    ----------
    main
        The command; its return value is the exit code, None means 0.
    argv
        Arguments without the program's name; None takes those of the process.
    memory_hint
        Which setting to lower when memory runs out, without a full stop.

    Returns
    -------
    int
        0; 2 for whatever the user can mend (`LatentFMError`, wrong arguments, exhausted
        memory); 130 after Ctrl+C; 1 for a defect of this package.
    """
    _add_log_arguments(parser)
    _never_fail_on_encoding()
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:  # wrong arguments (2), or --help (0)
        return stop.code if isinstance(stop.code, int) else EXIT_USER_ERROR
    level = logging.DEBUG if args.verbose else logging.WARNING if args.quiet else logging.INFO
    with _logging_to_stderr(level):
        try:
            return main(args) or EXIT_OK
        except KeyboardInterrupt:
            _complain("interrupted")
            return EXIT_INTERRUPTED
        except Exception as error:
            return _report(error, memory_hint)


def _report(error: Exception, memory_hint: str) -> int:
    logger.debug("details of the error:", exc_info=error)
    if is_out_of_memory(error):
        error = ResourceError(f"Not enough memory. {memory_hint}.")
    if isinstance(error, LatentFMError):
        _complain(f"error: {error}")
        return EXIT_USER_ERROR
    _complain(
        f"unexpected error: {type(error).__name__}: {error}\n"
        "This is a defect of napari-latentfm. Run again with --verbose and please report what "
        "it prints."
    )
    return EXIT_DEFECT


def say(text: str) -> None:
    """Write a result line to stdout."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The reader (``| head``) has gone; the flush at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(text: str) -> None:
    tqdm.write(text, file=sys.stderr)


def _never_fail_on_encoding() -> None:
    # File names may hold characters that the terminal's encoding lacks.
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


class _StderrHandler(logging.Handler):
    """Writes above a running progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


@contextmanager
def _logging_to_stderr(level: int) -> Iterator[None]:
    handler = _StderrHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    own = [logging.getLogger(name) for name in PACKAGES]
    before = [package.level for package in own]
    root = logging.getLogger()
    root.addHandler(handler)
    for package in own:
        package.setLevel(level)
    try:
        yield
    finally:
        root.removeHandler(handler)
        for package, old in zip(own, before, strict=True):
            package.setLevel(old)


def _add_log_arguments(parser: argparse.ArgumentParser) -> None:
    noise = parser.add_mutually_exclusive_group()
    noise.add_argument("--verbose", action="store_true", help="log details, and tracebacks")
    noise.add_argument("--quiet", action="store_true", help="log warnings and errors only")


def progress_bar(total: int, what: str, unit: str, quiet: bool) -> tqdm[Any]:
    """Return a progress bar on stderr, which rarely writes where nobody watches."""
    pause = 0.1 if sys.stderr.isatty() else 30.0
    return tqdm(total=total, desc=what, unit=unit, mininterval=pause, disable=quiet)


def add_sampling_arguments(
    parser: argparse.ArgumentParser, leave_out: Collection[str] = ()
) -> None:
    """Add the options that `sampling_from` and `load_segmenter` read, but for `leave_out`."""
    parser.add_argument(
        "--model",
        help="name of a bundled model, or a folder that latentfm-train wrote "
        f"(bundled: {', '.join(bundled_models()) or 'none'}; default: the first of them)",
    )
    group = parser.add_argument_group(
        "sampling", "What is not given is taken from the model's card."
    )
    for field, meaning in {
        "n_samples": "number of plausible masks N",
        "steps": "ODE solver steps K",
        "solver": f"ODE solver: {', '.join(get_args(SolverName))}",
        "seed": "seed of the first sample; sample n uses seed + n",
        "threshold": "mean probability from which on a pixel belongs to the mean mask",
        "batch_size": "samples computed at once; changes memory and speed, not results",
    }.items():
        if field not in leave_out:
            _add(group, field, meaning)
    if "confidence" not in leave_out:
        group.add_argument(
            "--confidence",
            choices=("calibrated", "raw"),
            help="calibrated: the chance that a pixel of the mean mask agrees with an expert, as "
            "fitted on validation data, if the model has that; raw: 1 - 4 variance of the samples "
            "(usual: calibrated)",
        )
    run = parser.add_argument_group("run")
    for field, meaning in {
        "device": "auto, cpu, cuda, cuda:1, ... or mps",
        "precision": f"format of the convolutions: {', '.join(get_args(Precision))}",
    }.items():
        if field not in leave_out:
            _add(run, field, meaning)


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that `reading_from` reads."""
    group = parser.add_argument_group(
        "files", "Limits that keep a harmful file from filling the memory."
    )
    group.add_argument(
        "--max-megapixels",
        type=float,
        metavar="MEGAPIXELS",
        help=f"most pixels of an image or mask, in 2**20 (usual: {READING.max_megapixels:g})",
    )
    group.add_argument(
        "--max-megabytes",
        type=float,
        metavar="MEGABYTES",
        help="largest decoded size of a file, in 2**20 bytes (usual: 8 for each megapixel)",
    )
    group.add_argument(
        "--follow-links",
        action="store_true",
        help="take symbolic links that lead out of a folder (usual: they are refused)",
    )


def reading_overrides(args: argparse.Namespace) -> dict[str, object]:
    """Return the fields of `ReadingConfig` that the options give."""
    given = {"max_megapixels": args.max_megapixels, "max_megabytes": args.max_megabytes}
    found: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    return found | ({"follow_links": True} if args.follow_links else {})


def reading_from(args: argparse.Namespace) -> ReadingConfig:
    """Return the limits for files that the options give.

    Raises
    ------
    ConfigError
        If one is out of range.
    """
    return reading_settings(reading_overrides(args))


def _add(group: argparse._ArgumentGroup, field: str, meaning: str) -> None:
    default = getattr(SamplingConfig(), field)
    usual = _CHOSEN.get(field, "chosen by the program") if default is None else default
    group.add_argument(
        _FLAGS[field],
        dest=field,
        metavar=_FLAGS[field].strip("-").upper().replace("-", "_"),
        type=_parser_of(field),
        help=f"{meaning} (usual: {usual})",
    )


def _parser_of(field: str) -> Callable[[str], object]:
    """Return an argparse type that accepts just what the settings accept."""

    def parse(text: str) -> object:
        try:
            value: object = getattr(sampling_settings(None, **{field: text}), field)
        except ConfigError as error:
            reason = str(error).partition(f"{field}: ")[2]
            raise argparse.ArgumentTypeError(f"{text!r}: {reason}") from None
        return value

    return parse


def sampling_from(args: argparse.Namespace, base: SamplingConfig | None = None) -> SamplingConfig:
    """Return `base` (or the defaults) changed by the options that were given."""
    given: dict[str, object] = {
        name: value for name in _FLAGS if (value := getattr(args, name, None)) is not None
    }
    confidence = getattr(args, "confidence", None)
    if confidence is not None:
        given["calibrated"] = confidence == "calibrated"
    return sampling_settings(base, **given)


def load_segmenter(args: argparse.Namespace) -> tuple[Segmenter, SamplingConfig]:
    """Return the model that the arguments name, and the settings to sample it with.

    Raises
    ------
    ModelFolderError
        If there is no such model, or its folder is damaged.
    ConfigError, ResourceError
        If settings are wrong together, or the device does not exist.
    """
    source = args.model
    if source is None:
        names = bundled_models()
        if not names:
            raise ModelFolderError(
                "This installation has no bundled model. Name a model folder: --model FOLDER."
            )
        source = names[0]
    folder = resolve_model(source)
    base = read_card(folder).config.sampling
    # The device is a matter of this machine, not of the one that trained the model.
    base = base.model_copy(update={"device": SamplingConfig().device})
    settings = sampling_from(args, base)
    segmenter = Segmenter.load(folder, settings.device, settings.precision)
    logger.info("model %s on %s", segmenter.card.id, segmenter.device_label)
    if getattr(args, "confidence", None) == "calibrated" and segmenter.card.calibration is None:
        raise ConfigError(
            f"The model {segmenter.card.id} has no calibration. Fit one with latentfm-calibrate, "
            "or take --confidence raw."
        )
    return segmenter, segmenter.resolved(settings)

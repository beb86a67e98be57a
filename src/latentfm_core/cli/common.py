"""Shared parts of the commands: exit codes, messages, logging and model loading."""

from __future__ import annotations

import argparse
import contextlib
import errno
import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

from tqdm import tqdm

from latentfm_core.bars import progress_bar
from latentfm_core.cli.streams import TolerantStream, tolerant_streams
from latentfm_core.errors import LatentFMError, ResourceError
from latentfm_core.names import shown, shown_text
from latentfm_core.output.sidecar import package_version

__all__ = ["progress_bar", "run_cli", "run_command", "say"]

logger = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_DEFECT = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

PACKAGES = ("latentfm_core", "napari_latentfm")
NOTICE = logging.WARNING + 1
"""Level of messages that ``--quiet`` shows too, although nothing is wrong."""

MEMORY_HINT = "Lower the batch size, the number of samples or the image size"


def run_cli(
    main: Callable[[argparse.Namespace], int | None],
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None = None,
    *,
    memory_hint: str = MEMORY_HINT,
    package: str = "",
) -> int:
    """Parse and run a command, and turn errors into a message on stderr and an exit code.

    ``--verbose`` and ``--quiet`` are added to `parser` and to its subcommands.

    Parameters
    ----------
    main
        The command; its return value is the exit code, None means 0.
    argv
        Arguments without the program name; None means those of the process.
    memory_hint
        Which setting to lower when memory runs out, without a full stop.
    package
        A further package whose messages these two options govern.

    Returns
    -------
    int
        0; 2 for errors that the user can fix (`LatentFMError`, wrong arguments, exhausted
        memory); 130 after Ctrl+C, SIGTERM or SIGHUP; 1 for a bug in this package. Output that
        cannot be written, as to a closed terminal, does not change the exit code.
    """
    _add_log_arguments(parser)
    _open_missing()
    _improve_errors(parser)
    _replace_unencodable()
    with tolerant_streams() as printed:
        try:
            given = sys.argv[1:] if argv is None else argv
            if "" in given:
                parser.error("an argument is empty; a shell variable may be unset")
            args = parser.parse_args(given)
        except SystemExit as stop:  # wrong arguments (2), or --help (0)
            return stop.code if isinstance(stop.code, int) else EXIT_USER_ERROR
        level = logging.DEBUG if args.verbose else logging.WARNING if args.quiet else logging.INFO
        with _logging_to_stderr(level, package), _ended_by_signals():
            try:
                return main(args) or EXIT_OK
            except KeyboardInterrupt:
                _complain("interrupted")
                return EXIT_INTERRUPTED
            except Exception as error:
                return _report(error, memory_hint)
            finally:
                _warn_of_lost(printed)


def run_command(
    name: str,
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None = None,
    *,
    memory_hint: str = MEMORY_HINT,
) -> int:
    """Parse the arguments and hand them to ``cli.commands.NAME.run``, as `run_cli` does.

    The module is imported after the arguments are parsed: it imports PyTorch, which takes
    seconds, and ``--help`` must not wait for that.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = shlex.join([parser.prog, *arguments])

    def run(args: argparse.Namespace) -> int | None:
        code: int | None = import_module(f"latentfm_core.cli.commands.{name}").run(args, command)
        return code

    return run_cli(run, parser, arguments, memory_hint=memory_hint)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Make SIGTERM, and SIGHUP from a closed terminal, end the block as Ctrl+C does.

    Temporary files are then removed and locks released. A command may install its own handlers
    inside the block. A SIGHUP ignored by ``nohup`` stays ignored.
    """
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in names):
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, _interrupt)
    interrupt_handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if before:
            signal.signal(signal.SIGINT, interrupt_handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _warn_of_lost(printed: TolerantStream) -> None:
    printed.flush()
    lost = printed.lost
    if isinstance(lost, OSError) and lost.errno not in (errno.EPIPE, errno.EIO, errno.EBADF):
        _complain(f"warning: some output was lost: {lost.strerror or lost}")


def _open_missing() -> None:
    """Open closed standard descriptors, so that none of our files gets their numbers.

    Native libraries would write their messages into such a file.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                opened = os.open(os.devnull, os.O_RDWR)
                if opened != descriptor:
                    os.dup2(opened, descriptor)
                    os.close(opened)


def _improve_errors(parser: argparse.ArgumentParser) -> None:
    """Escape control characters in argument errors, which may contain file names.

    Misspelt options get the nearest one; those of the command itself belong before a subcommand.
    """
    complain = parser.error
    known = [word for action in parser._actions for word in action.option_strings]

    def error(message: str) -> NoReturn:
        words = message.split() if message.startswith("unrecognized arguments") else []
        if first := [word for word in words if word in known]:
            complain(shown(f"{message}. Write {first[0]} before the subcommand"))
        near = [each for word in words for each in get_close_matches(word.split("=")[0], known, 1)]
        complain(shown(f"{message}. Did you mean {', '.join(near)}?" if near else message))

    parser.error = error  # type: ignore[method-assign]  # instead of a parser class of our own


def _report(error: Exception, memory_hint: str) -> int:
    logger.debug("details of the error:", exc_info=error)
    # PyTorch takes seconds to import, and --help must not wait for it.
    from latentfm_core.inference.device import is_out_of_memory

    if is_out_of_memory(error):
        error = ResourceError(f"Not enough memory. {memory_hint}.")
    if isinstance(error, LatentFMError):
        _complain(f"error: {error}")
        return EXIT_USER_ERROR
    if isinstance(error, OSError) and error.errno is not None:
        # A problem with a disk, a path or its permissions.
        where = "" if error.filename is None else f"{shown(error.filename)}: "
        _complain(f"error: {where}{error.strerror}. Check the path, its permissions and the disk.")
        return EXIT_USER_ERROR
    _complain(
        f"unexpected error: {type(error).__name__}: {error}\n"
        "This is a bug in napari-latentfm. Run again with --verbose and please report the "
        "output."
    )
    return EXIT_DEFECT


def say(text: str) -> None:
    """Write a result line to stdout."""
    print(shown_text(text), flush=True)


def _complain(text: str) -> None:
    tqdm.write(shown_text(text), file=sys.stderr)


def _replace_unencodable() -> None:
    # File names may contain characters that the terminal's encoding lacks.
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


class _StderrHandler(logging.Handler):
    """Writes above a running progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(shown_text(self.format(record)), file=sys.stderr)
        except Exception:
            self.handleError(record)


class _Formatter(logging.Formatter):
    """Marks warnings as such, all in the same way."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return f"warning: {text}" if record.levelno == logging.WARNING else text


@contextmanager
def _logging_to_stderr(level: int, package: str) -> Iterator[None]:
    handler = _StderrHandler()
    handler.setFormatter(_Formatter())
    loggers = [logging.getLogger(name) for name in filter(None, (*PACKAGES, package))]
    before = [each.level for each in loggers]
    root = logging.getLogger()
    root.addHandler(handler)
    for each in loggers:
        each.setLevel(level)
    try:
        yield
    finally:
        root.removeHandler(handler)
        for each, old in zip(loggers, before, strict=True):
            each.setLevel(old)


def _add_log_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", action="version", version=f"%(prog)s {package_version()}")
    _add_noise(parser)
    subcommands = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    for each in (one for action in subcommands for one in action.choices.values()):
        _add_noise(each, default=argparse.SUPPRESS)  # keeps what came before the subcommand


def _add_noise(parser: argparse.ArgumentParser, **options: Any) -> None:
    noise = parser.add_mutually_exclusive_group()
    verbose, quiet = "log details, and tracebacks", "log warnings and errors only"
    noise.add_argument("--verbose", action="store_true", help=verbose, **options)
    noise.add_argument("--quiet", action="store_true", help=quiet, **options)

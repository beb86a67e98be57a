"""Shared parts of the commands: exit codes, messages, logging and model loading."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import NoReturn

from latentfm_core.cli.arguments import add_log_arguments, given_options, improve_errors
from latentfm_core.cli.streams import TolerantStream, tolerant_streams
from latentfm_core.errors import LatentFMError, OutputError, ResourceError
from latentfm_core.names import shown, shown_text

logger = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_DEFECT = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

PACKAGES = ("latentfm_core", "napari_latentfm")
NOTICE = logging.WARNING + 1
"""Level of messages that ``--quiet`` shows too, although nothing is wrong."""

_UNWRITTEN = "The output could not be written to standard output: {}. Write it to another place."

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
        cannot be written does not change the exit code, unless it is all that was asked for
        (``--help``, `print_result`) and a device is full.
    """
    add_log_arguments(parser)
    _open_missing()
    improve_errors(parser)
    _replace_unencodable()
    with tolerant_streams() as printed:
        try:
            given = sys.argv[1:] if argv is None else argv
            if "" in given:
                parser.error("an argument is empty; a shell variable may be unset")
            args = parser.parse_args(given)
        except SystemExit as stop:  # wrong arguments (2), or --help (0)
            if reason := printed.loss():
                _complain(f"error: {_UNWRITTEN.format(reason)}")
                return EXIT_USER_ERROR
            return stop.code if isinstance(stop.code, int) else EXIT_USER_ERROR
        args.given = given_options(parser, args)
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


def entry_point(
    build_parser: Callable[[], argparse.ArgumentParser], memory_hint: str = MEMORY_HINT
) -> Callable[..., int]:
    """Return ``main(argv=None)`` of a command; it calls ``cli.commands.NAME.run`` by `run_cli`.

    NAME is that of the parser's program ``latentfm-NAME``. The module is imported after the
    arguments are parsed: it imports PyTorch, which takes seconds, and ``--help`` must not wait
    for that.
    """

    def main(argv: Sequence[str] | None = None) -> int:
        parser = build_parser()
        arguments = list(sys.argv[1:] if argv is None else argv)
        command = shlex.join([parser.prog, *arguments])
        module = f"latentfm_core.cli.commands.{parser.prog.removeprefix('latentfm-')}"

        def run(args: argparse.Namespace) -> int | None:
            code: int | None = import_module(module).run(args, command)
            return code

        code = run_cli(run, parser, arguments, memory_hint=memory_hint)
        if code == EXIT_INTERRUPTED and argv is None:
            _end_at_once(code)
        return code

    return main


def _end_at_once(code: int) -> NoReturn:
    """End the process after its exit handlers, without taking the interpreter apart.

    With PyTorch that takes seconds, in which a stopped command would seem to hang.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


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
    if reason := printed.loss():
        _complain(f"warning: some output was lost: {reason}")


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


def print_line(text: str) -> None:
    """Write a result line to stdout."""
    print(shown_text(text), flush=True)


def print_result(text: str) -> None:
    """Write the only result of a command to stdout.

    Raises
    ------
    OutputError
        If it cannot be written; a reader that has exited, as ``| head``, is not an error.
    """
    print_line(text)
    if isinstance(sys.stdout, TolerantStream) and (reason := sys.stdout.loss()):
        raise OutputError(_UNWRITTEN.format(reason))


def _complain(text: str) -> None:
    # Imported here because `--help` needs no bars.
    from tqdm import tqdm

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
            _complain(self.format(record))
        except Exception:
            self.handleError(record)


class _Formatter(logging.Formatter):
    """Prefixes all warnings in the same way."""

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

"""Options that every command has, and checks of the options given."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NoReturn

from latentfm_core.errors import ConfigError
from latentfm_core.names import shown
from latentfm_core.versions import package_version


def add_log_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--version``, ``--verbose`` and ``--quiet``, the last two to subcommands as well."""
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


def improve_errors(parser: argparse.ArgumentParser) -> None:
    """Escape control characters in argument errors, which may contain file names.

    Misspelt options get the nearest one; those of the command itself belong before a subcommand.
    The message must not be lost below a list of all options.
    """
    parser.format_usage = (  # type: ignore[method-assign]  # as for `error`
        lambda: f"usage: {parser.prog} [options]; see --help\n"
    )
    complain = parser.error
    known = [word for action in parser._actions for word in action.option_strings]

    def error(message: str) -> NoReturn:
        words = message.split() if message.startswith("unrecognized arguments") else []
        if first := [word for word in words if word in known]:
            complain(shown(f"{message}. Write {first[0]} before the subcommand"))
        misspelt = [word.split("=")[0] for word in words if word.startswith("-")]
        near = [each for word in misspelt for each in get_close_matches(word, known, 1)]
        complain(shown(f"{message}. Did you mean {', '.join(near)}?" if near else message))

    parser.error = error  # type: ignore[method-assign]  # instead of a parser class of our own


def given_options(parser: argparse.ArgumentParser, args: argparse.Namespace) -> dict[str, str]:
    """Return the options that are not at their defaults, by the names of their values."""
    values = vars(args)
    return {
        action.dest: action.option_strings[0]
        for action in parser._actions
        if action.option_strings and values.get(action.dest, action.default) != action.default
    }


def reject_unused(args: argparse.Namespace, names: Iterable[str], reason: str) -> None:
    """Reject options that would do nothing.

    Parameters
    ----------
    names
        Names of their values in `args`.
    reason
        Why, for example ``"without --tiled"``.

    Raises
    ------
    ConfigError
        The message names them.
    """
    unused = [args.given[name] for name in names if name in args.given]
    if unused:
        listed = " and ".join(filter(None, (", ".join(unused[:-1]), unused[-1])))
        what = "has" if len(unused) == 1 else "have"
        raise ConfigError(f"{listed} {what} no effect {reason}. Leave this out.")

"""Groups of images, such as patients or videos, from a CSV file."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from latentfm_core.errors import DatasetError
from latentfm_core.files.untrusted import decoded_text, read_bounded
from latentfm_core.images.endings import image_name
from latentfm_core.names import comparable, counted, name_some, shown
from latentfm_core.once import first_time

logger = logging.getLogger(__name__)

MAX_BYTES = 16_000_000
"""Maximum size of a split or group file: over 100,000 long names."""
_REDUNDANT_ZEROS = re.compile(r"(?<![\d.])0+(?=\d)|(?<=\d)\.0*$")
"""Leading zeros of a number in a name, and zero decimals at its end."""
_MISSING = {"", "nan", "none", "null", "na", "n/a", "#n/a", "<na>", "nat"}
"""What tables write where a value is missing, in lower case."""


def read_groups(
    path: Path, column: str, names: Sequence[str], key: str = "image"
) -> dict[str, str]:
    """Return the group of every name, from a CSV file with the columns `key` and `column`.

    An entry of `key` is a name, or a file name as in `known_name`. Rows of other images are
    ignored. The separator is a comma, a semicolon or a tab; spaces around entries are ignored.
    Groups are compared in one Unicode form. A warning names those that differ only in case, in
    spaces or in how numbers are written (1, 001 and 1.0).

    Raises
    ------
    DatasetError
        If the file or a column is missing or twice, a name has no group, or it has two. An empty
        entry, nan, none or n/a is not a group.
    """
    known = {comparable(name) for name in names}
    groups: dict[str, str] = {}
    empty: set[str] = set()
    for row in _group_rows(path, (key, column)):
        image, group = comparable(row.get(key, "")), comparable(row.get(column, ""))
        name = known_name(image, known)
        if name not in known:
            continue
        if group.casefold() in _MISSING:
            empty.add(shown(group or "empty"))
            continue
        if groups.setdefault(name, group) != group:
            raise DatasetError(
                f"The group file {shown(path)} assigns {shown(name)} to two groups. Keep one row."
            )
    missing = known - groups.keys()
    advice = ""
    if empty:
        advice = (
            f" The entry {name_some(empty)} means that the {column} is missing. If an image has "
            f"none, give it a {column} of its own."
        )
    if missing:
        raise DatasetError(
            f"The group file {shown(path)} has no {column} for {counted(len(missing), 'image')}: "
            f"{name_some(missing)}. Add a row for each, with its name or file name.{advice}"
        )
    _warn_of_similar(path, column, set(groups.values()))
    return groups


def known_name(entry: str, known: Collection[str]) -> str:
    """Return the name that an entry of a list means, of those `known`.

    An entry is a name, or a file name with the ending of an image, with or without folders.
    """
    return entry if entry in known else image_name(re.split(r"[/\\]", entry)[-1])


def groups_text(groups: Mapping[str, str]) -> str:
    """Return how many groups there are, and of how many images each: "12 (1 to 20 images)"."""
    sizes = Counter(groups.values()).values()
    least = "" if min(sizes) == max(sizes) else f"{min(sizes)} to "
    return f"{len(sizes)} ({least}{counted(max(sizes), 'image')}{'' if least else ' each'})"


def _warn_of_similar(path: Path, column: str, groups: Collection[str]) -> None:
    """Warn of groups that are probably the same, once for each file and column."""
    alike: dict[str, list[str]] = {}
    for group in sorted(groups):
        alike.setdefault(_simplified(group), []).append(group)
    similar = [" / ".join(map(repr, each)) for each in alike.values() if len(each) > 1]
    if similar and first_time("similar groups", path, column):
        logger.warning(
            "The group file %s has groups that differ only in case, in spaces or in how "
            "numbers are written (001, 1.0), and count as different ones: %s. If they are the same "
            "%s, write them the same way.",
            shown(path),
            name_some(similar),
            column,
        )


def _simplified(group: str) -> str:
    """Return a group without case, spaces, leading zeros of numbers and decimals that are zero."""
    plain = "".join(group.casefold().split())
    return _REDUNDANT_ZEROS.sub("", plain)


def _group_rows(path: Path, needed: tuple[str, str]) -> list[dict[str, str]]:
    """Return the rows of a group file by column; `needed` are those of image and group."""
    try:
        text = decoded_text(read_bounded(path, MAX_BYTES))
        table = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text, needed))
        columns = [name.strip() for name in next(filter(None, table), [])]
        rows = []
        for row in table:
            if any(map(str.strip, row[len(columns) :])):
                raise ValueError(
                    f"line {table.line_num} has {len(row)} entries for {len(columns)} columns"
                )
            rows.append(dict(zip(columns, map(str.strip, row), strict=False)))
    except (OSError, ValueError, csv.Error) as error:
        raise DatasetError(
            f"Cannot read the group file {shown(path)}: "
            f"{getattr(error, 'strerror', None) or error}. Check the path, and that it is "
            "CSV (in a spreadsheet, choose CSV UTF-8)."
        ) from None
    for name in needed:
        if columns.count(name) != 1:
            problem = "two columns" if name in columns else "no column"
            is_group = name == needed[-1]
            other = " or name another one (--group-column, data.group_column)" if is_group else ""
            raise DatasetError(
                f"The group file {shown(path)} has {problem} {name!r}; it has "
                f"{shown(', '.join(columns)[:500]) or 'none'}. Correct its first line{other}."
            )
    return rows


def _separator(text: str, needed: Collection[str]) -> str:
    """Return the separator that gives the needed columns, as spreadsheets write several."""
    first = text.lstrip("\r\n").partition("\n")[0]
    for separator in ",;\t":
        columns = {name.strip() for name in next(csv.reader([first], delimiter=separator), [])}
        if columns >= set(needed):
            return separator
    return ","

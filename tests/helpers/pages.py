"""Parser of HTML reports."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

VOID = {"meta", "img", "link", "br", "input"}
"""Elements that have no end."""


@dataclass
class Element:
    """An element with its attributes, children and text."""

    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Return all descendants with a tag and these attributes, in order."""
        found = []
        for child in self.children:
            fits = all(child.attributes.get(key) == value for key, value in attributes.items())
            if child.tag == tag and fits:
                found.append(child)
            found += child.all(tag, **attributes)
        return found

    def one(self, tag: str, **attributes: str) -> Element:
        """Return the only such descendant."""
        (found,) = self.all(tag, **attributes)
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("", {})]
        self.every: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        self.every.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> ends <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


class Page(Element):
    """A parsed report; unbalanced elements raise an error.

    Attributes
    ----------
    source
        The file as text.
    every
        All elements in order.
    """

    def __init__(self, source: str) -> None:
        reader = _Reader()
        reader.feed(source)
        reader.close()
        assert len(reader.open) == 1, f"<{reader.open[-1].tag}> does not end"
        super().__init__("", {}, reader.open[0].children, reader.open[0].text)
        self.source, self.every = source, reader.every

    @classmethod
    def read(cls, path: Path) -> Page:
        """Read a file."""
        return cls(path.read_text("utf-8"))

    def section(self, title: str) -> Element:
        """Return the part of the page under a heading."""
        (found,) = (each for each in self.all("section") if each.one("h2").text == title)
        return found


def picture(element: Element, name: str = "src") -> np.ndarray:
    """Return the pixels of a picture that is embedded."""
    kind, _, content = element.attributes[name].partition(";base64,")
    assert kind.startswith("data:image/")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


LOG = "training/log.csv"
"""The table of a training, below its model folder."""


def read_table(folder: Path, name: str = "per_image.csv") -> list[dict[str, str]]:
    """Return the rows of a table of comma-separated values."""
    with (folder / name).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def check_that_it_loads_nothing(page: Page) -> None:
    """Fail if the page refers to other files, or would run code from a name."""
    for element in page.every:
        assert element.tag not in ("link", "iframe", "object", "base", "form")
        for name, value in element.attributes.items():
            assert not name.startswith("on"), "scripts in attributes"
            if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
                assert value.startswith(("data:image/", "#")), value[:80]
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp|innerHTML", page.source)
    assert "//" not in page.one("style").text + page.one("script").text
    policies = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    policy = policies[0].attributes["content"]
    digest = hashlib.sha256(page.one("script").text.encode()).digest()
    script = f"script-src 'sha256-{base64.b64encode(digest).decode()}'"
    assert "default-src 'none'" in policy
    assert script in policy, "else it never runs"

"""What the XML lists of PyTom and DeepFinder share: safe reading and quoted names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from xml.sax import SAXException
from xml.sax.handler import ContentHandler
from xml.sax.saxutils import quoteattr
from xml.sax.xmlreader import AttributesImpl

import pandas as pd

_UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class _Elements(ContentHandler):
    """Gathers attributes of the elements of one tag right below the root, and of their children.

    No tree is built: a million particles would make one of many million nodes.
    """

    def __init__(self, tag: str, attributes: Sequence[str]) -> None:
        super().__init__()
        self.columns: dict[str, list[str | None]] = {name: [] for name in attributes}
        self.root = ""
        self._tag = tag
        self._wanted: dict[str, list[tuple[str, str]]] = {}
        for column in attributes:
            child, _, name = column.rpartition(" ")
            self._wanted.setdefault(child, []).append((column, name))
        self._depth = 0
        self._row: dict[str, str | None] | None = None

    def startElement(self, name: str, attrs: AttributesImpl) -> None:
        self._depth += 1
        if self._depth == 1:
            self.root = name
        elif self._depth == 2 and name == self._tag:
            self._row = {column: attrs.get(key) for column, key in self._wanted.get("", ())}
        elif self._depth == 3 and self._row is not None:
            for column, key in self._wanted.get(name, ()):
                self._row[column] = attrs.get(key)

    def endElement(self, name: str) -> None:
        self._depth -= 1
        if self._depth == 1 and self._row is not None:
            for column, cells in self.columns.items():
                cells.append(self._row.get(column))
            self._row = None


def read_elements(path: Path, root: str, tag: str, attributes: Sequence[str]) -> pd.DataFrame:
    """Read attributes of the elements right below the root: a row each, all text.

    Nothing that a document declares for itself (entities, other files) is followed.

    Parameters
    ----------
    path
        The XML file.
    root
        Tag of the element around the list.
    tag
        Tag of the elements to read.
    attributes
        Names of attributes, such as "x", or of a child's attributes, such as "Score Value"; they
        become the columns. Where there is no such attribute, the cell is None.

    Raises
    ------
    ValueError
        If the file is no regular XML, has another root, or declares a document type.
    """
    # Here, because few lists are XML and the import takes a while.
    from defusedxml import DefusedXmlException
    from defusedxml.sax import make_parser

    elements = _Elements(tag, attributes)
    parser = make_parser()
    parser.forbid_dtd = True
    parser.setContentHandler(elements)
    try:
        with path.open("rb") as file:
            parser.parse(file)
    except DefusedXmlException as error:
        raise ValueError(
            f"{path.name} declares a document type or entities, which may hide other files or "
            "endless text and which no particle list needs; remove the declaration if you trust it"
        ) from error
    except (SAXException, LookupError, ValueError) as error:
        # The latter two are of encodings that nobody knows.
        why = str(error).replace(f"{path}:", "line ")
        raise ValueError(
            f"{path.name} is no regular XML ({why}); write it again or choose another file"
        ) from error
    if elements.root != root:
        raise ValueError(
            f"{path.name} is XML around <{elements.root}>, not <{root}>; choose another file or "
            "format"
        )
    return pd.DataFrame(elements.columns, dtype=object)


def quoted(what: str, text: str) -> str:
    """Return a text with quotes around it, as the value of an attribute.

    Raises
    ------
    ValueError
        If it has characters that no XML file can hold.
    """
    if _UNSAFE.search(text):
        raise ValueError(
            f"an XML file cannot hold the {what} {text!r}; choose one without control characters"
        )
    return quoteattr(text, {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})

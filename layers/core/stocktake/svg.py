"""SVG: a document that can run code, so only drawings that cannot are taken.

They are served as attachments all the same. But people open what they download, and servers draw it: so nothing in it may run (scripts,
event handlers, `javascript:`), bring HTML along (foreignObject can hold a whole page with a form; a drawing needs none) or fetch (whoever
draws it follows a reference to another file or host, which can name what only that machine reaches).
"""

from __future__ import annotations

import re
from typing import NoReturn
from xml.parsers import expat

from stocktake.errors import UnsupportedType

_SVG = "http://www.w3.org/2000/svg"
_XHTML = "http://www.w3.org/1999/xhtml"
_RUNS = {"script", "handler", "listener", "foreignobject"}
_REFERENCES = {"href", "src"}
_WITHIN = re.compile(r"\s*(?:#|data:image/(?:png|jpeg|gif|webp|avif)[;,]|$)", re.IGNORECASE)
_WEB_LINK = re.compile(r"\s*https?://", re.IGNORECASE)
_BEGINS_AS_TEXT = re.compile(rb"(?:\xef\xbb\xbf)?[\t\n\f\r ]*<")
_ENCODINGS = {None, "utf-8", "us-ascii"}


def begins_as_markup(data: bytes) -> bool:
    """Tells whether the first character is `<`, as browsers sniff: after white space and a byte order mark."""
    return _BEGINS_AS_TEXT.match(data) is not None


def check_svg(data: bytes) -> None:
    """Refuses every document that is not a well-formed SVG which draws and does nothing else.

    It is read by expat, which loads nothing from outside; entities cannot grow it, because a DOCTYPE is refused where it begins.

    Raises:
        UnsupportedType: the message says what is in it.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = _Elements().start
    parser.StartDoctypeDeclHandler = lambda *_: _refuse("a DOCTYPE")
    parser.ProcessingInstructionHandler = lambda *_: _refuse("a processing instruction")
    parser.XmlDeclHandler = _check_encoding
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise UnsupportedType(
            f"the bytes are markup, and no well-formed SVG in line {error.lineno}: send an image, or an SVG as its program wrote it"
        ) from None


class _Elements:
    """Looks at each element as it begins; the first must be the drawing."""

    def __init__(self) -> None:
        self._root_seen = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        if not self._root_seen and (namespace, local) != (_SVG, "svg"):
            raise UnsupportedType("the bytes are markup, and their root is no svg element of the SVG namespace: send an image")
        self._root_seen = True
        if local.lower() in _RUNS or namespace == _XHTML:
            _refuse("an element that can run or hold a page (script, foreignObject, HTML)")
        for full_name, value in attributes.items():
            attribute = full_name.rpartition(" ")[2].lower()
            if attribute.startswith("on"):
                _refuse("an event handler")
            if attribute in _REFERENCES and not _WITHIN.match(value) and not (local == "a" and _WEB_LINK.match(value)):
                _refuse("a reference to something outside of it")
            if attribute == "attributename" and value.rpartition(":")[2].strip().lower() in _REFERENCES:
                _refuse("an animation of a reference")


def _check_encoding(version: str, encoding: str | None, standalone: int) -> None:
    if (encoding and encoding.lower()) not in _ENCODINGS:
        _refuse("an encoding that is not UTF-8")


def _refuse(what: str) -> NoReturn:
    raise UnsupportedType(f"the SVG has {what}: send a drawing that only draws, as a program saves a plain SVG")

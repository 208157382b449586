"""SVG: a document that can run code, so only drawings that cannot are taken.

They are served as attachments all the same. But people open what they download, and servers draw it: so nothing in it may run (scripts,
event handlers, `javascript:`), bring HTML along (foreignObject can hold a whole page with a form; a drawing needs none) or fetch (whoever
draws it follows a reference to another file or host, which can name what only that machine reaches). Style sheets are looked at as well,
and every attribute, because most of them can hold a `url()`. Nor may it exhaust who draws it: by its size, or by copies of copies (`use`).
"""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from typing import NoReturn
from urllib.parse import unquote
from xml.parsers import expat

from stocktake.errors import UnsupportedType

_SVG = "http://www.w3.org/2000/svg"
_XHTML = "http://www.w3.org/1999/xhtml"
_RUNS = {"script", "handler", "listener", "foreignobject"}
_REFERENCES = {"href", "src"}
_WITHIN = re.compile(r"\s*(?:#|data:image/(?:png|jpeg|gif|webp|avif)[;,]|$)", re.IGNORECASE)
_WEB_LINK = re.compile(r"\s*https?://", re.IGNORECASE)
_XML_BASE = "http://www.w3.org/XML/1998/namespace base"
_IDS = {"id", "http://www.w3.org/XML/1998/namespace id"}
_CSS_ESCAPE = re.compile(r"\\(?:([0-9a-f]{1,6})\s?|(.)|\n)", re.IGNORECASE)
_CSS_FETCHES = re.compile(
    r"""@import | url\(\s*+(?!["']?\s*+(?:\#|data:image/(?:png|jpeg|gif|webp|avif)[;,])) | image-set\( | \b(?:src|image)\(\s*+["']""",
    re.IGNORECASE | re.VERBOSE,
)
_NUMBER = re.compile(r"[+-]?(?:\d++\.?\d*+|\.\d++)(?:e[+-]?\d++)?", re.IGNORECASE)
_MAX_SIDE = 100_000
_MAX_COPIES = 1_000_000
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
    elements = _Elements()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = elements.start
    parser.EndElementHandler = elements.end
    parser.CharacterDataHandler = elements.text
    parser.StartDoctypeDeclHandler = lambda *_: _refuse("a DOCTYPE")
    parser.ProcessingInstructionHandler = lambda *_: _refuse("a processing instruction")
    parser.XmlDeclHandler = _check_encoding
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise UnsupportedType(
            f"the bytes are markup, and no well-formed SVG in line {error.lineno}: send an image, or an SVG as its program wrote it"
        ) from None
    elements.check_copies()


class _Elements:
    """Looks at each element as it begins; the first must be the drawing.

    For the copies it keeps the root and the elements with an id, which are all that can be copied, as nodes by number: how many elements
    each has that are in no other node, which nodes lie in it, and which ids its `use` elements name.
    """

    def __init__(self) -> None:
        self._style: list[str] | None = None
        self._open: list[int] = []
        self._sizes: list[int] = []
        self._inner: list[list[int]] = []
        self._uses: list[list[str]] = []
        self._with_id: dict[int | str, list[int | str]] = {}

    def start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        if not self._open and (namespace, local) != (_SVG, "svg"):
            raise UnsupportedType("the bytes are markup, and their root is no svg element of the SVG namespace: send an image")
        if local.lower() in _RUNS or namespace == _XHTML:
            _refuse("an element that can run or hold a page (script, foreignObject, HTML)")
        if self._style is not None:
            _refuse("an element within a style sheet")
        if local.lower() == "style":
            self._style = []
        for full_name, value in attributes.items():
            _check_attribute(local, full_name, value)
        if local == "svg":
            _check_size(attributes)
        self._enter(local, attributes)

    def end(self, name: str) -> None:
        self._open.pop()
        if self._style is not None:  # nothing lies within a style sheet, so it is the one that ends
            _check_css("".join(self._style))
            self._style = None

    def text(self, data: str) -> None:
        if self._style is not None:
            self._style.append(data)

    def check_copies(self) -> None:
        """Refuses a drawing that draws more than _MAX_COPIES elements for its `use`s: thirty short lines can ask for 2**30."""
        if not any(self._uses):
            return
        parts: dict[int | str, list[int | str]] = {**self._with_id}
        parts.update((node, [*inner, *self._uses[node]]) for node, inner in enumerate(self._inner))
        try:
            order = list(TopologicalSorter(parts).static_order())
        except CycleError:
            raise UnsupportedType("the SVG has a use element that draws itself: send it without") from None
        most = sum(self._sizes) + _MAX_COPIES
        totals: dict[int | str, int] = {}
        for part in order:
            inner = [totals[each] for each in parts.get(part, ())]
            if isinstance(part, str):  # an id: one element is drawn for it, whichever of several the reader finds
                totals[part] = max(inner, default=0)
            else:  # cut off, because the numbers themselves could get as long as the document
                totals[part] = min(most + 1, self._sizes[part] + sum(inner))
        if totals[0] > most:
            _refuse(f"use elements that draw more than {_MAX_COPIES} elements again")

    def _enter(self, local: str, attributes: dict[str, str]) -> None:
        ids = [value for full_name, value in attributes.items() if full_name in _IDS]
        if ids or not self._open:
            node = len(self._sizes)
            self._sizes.append(0)
            self._inner.append([])
            self._uses.append([])
            if self._open:
                self._inner[self._open[-1]].append(node)
            for each in ids:
                self._with_id.setdefault(each, []).append(node)
        else:
            node = self._open[-1]
        self._open.append(node)
        self._sizes[node] += 1
        if local == "use":
            targets = (value.strip() for full_name, value in attributes.items() if full_name.rpartition(" ")[2] == "href")
            self._uses[node] += [unquote(target[1:]) for target in targets if target.startswith("#")]


def _check_attribute(element: str, full_name: str, value: str) -> None:
    attribute = full_name.rpartition(" ")[2].lower()
    if attribute.startswith("on"):
        _refuse("an event handler")
    is_within = _WITHIN.match(value) or (element == "a" and _WEB_LINK.match(value))
    if full_name == _XML_BASE or (attribute in _REFERENCES and not is_within):
        _refuse("a reference to something outside of it")
    if attribute == "attributename" and value.rpartition(":")[2].strip().lower() in _REFERENCES:
        _refuse("an animation of a reference")
    if attribute not in _REFERENCES:
        _check_css(value)


def _check_css(text: str) -> None:
    """Refuses what fetches, however it is escaped (CSS Syntax, 4.3.7). Strings and comments are looked at like all else."""
    if "(" not in text and "@" not in text and "\\" not in text:
        return
    if _CSS_FETCHES.search(_CSS_ESCAPE.sub(_unescaped, text)):
        _refuse("a reference to something outside of it in its styles")


def _unescaped(escape: re.Match[str]) -> str:
    code, character = escape.groups()
    if code is None:
        return character or ""
    return chr(int(code, 16)) if int(code, 16) <= 0x10FFFF else "\ufffd"


def _check_size(attributes: dict[str, str]) -> None:
    sides = [attributes.get(side, "100%") for side in ("width", "height")]
    if any("%" in side for side in sides):  # else the view box is only a scale: drawings of circuits count in micrometres
        sides.append(attributes.get("viewBox", ""))
    if any(abs(float(number)) > _MAX_SIDE for side in sides for number in _NUMBER.findall(side)):
        _refuse(f"a width, height or view box over {_MAX_SIDE}")


def _check_encoding(version: str, encoding: str | None, standalone: int) -> None:
    if (encoding and encoding.lower()) not in _ENCODINGS:
        _refuse("an encoding that is not UTF-8")


def _refuse(what: str) -> NoReturn:
    raise UnsupportedType(f"the SVG has {what}: send a drawing that only draws, as a program saves a plain SVG")

from __future__ import annotations

import pytest

from stocktake.errors import UnsupportedType
from stocktake.svg import check_svg

SVG = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
PLAIN = f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<!-- Created with a drawing program -->
<svg {SVG} xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:i="http://www.inkscape.org/namespaces/inkscape"
     i:export-filename="/home/me/a.png" width="24" height="24" viewBox="0 0 24 24">
  <metadata><rdf:RDF><rdf:Description rdf:about="http://example.org/"/></rdf:RDF></metadata>
  <style>.a {{ fill: url(#g) }}</style>
  <defs><linearGradient id="g"><stop offset="0"/></linearGradient></defs>
  <use xlink:href="#g"/><use href=" #g"/>
  <image href="data:image/png;base64,iVBORw0KGgo="/>
  <a href="https://example.org/"><text>about script &amp; onload</text></a>
  <animate attributeName="opacity" values="0;1"/>
</svg>"""


def a_drawing(inside: str, attributes: str = "") -> bytes:
    return f"<svg {SVG} {attributes}>{inside}</svg>".encode()


def test_a_drawing_as_programs_save_it_is_taken() -> None:
    check_svg(PLAIN.encode())
    check_svg(b"\xef\xbb\xbf" + PLAIN.encode())


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (b"<svg", "well-formed"),
        (a_drawing("<path>"), "well-formed"),
        (a_drawing("&nothing;"), "well-formed"),
        (a_drawing("") + b"<p/>", "well-formed"),
        (b"", "well-formed"),
        (b"<html xmlns='http://www.w3.org/1999/xhtml'/>", "root"),
        (b"<svg/>", "root"),
        (b"<svg xmlns='http://example.org/'/>", "root"),
        (b"<x:path xmlns:x='http://www.w3.org/2000/svg'/>", "root"),
        (b"<!DOCTYPE svg>" + a_drawing(""), "DOCTYPE"),
        (b'<!DOCTYPE svg [<!ENTITY a "b"><!ENTITY c "&a;&a;">]>' + a_drawing("&c;"), "DOCTYPE"),
        (b'<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + a_drawing("&a;"), "DOCTYPE"),
        (b'<?xml-stylesheet href="x.css"?>' + a_drawing(""), "processing instruction"),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?>' + a_drawing(""), "encoding"),
        (PLAIN.replace("UTF-8", "UTF-16").encode("utf-16"), "encoding"),
    ],
)
def test_what_is_no_plain_svg_document_is_refused(document: bytes, why: str) -> None:
    with pytest.raises(UnsupportedType, match=why):
        check_svg(document)


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>",
        "<SCRIPT/>",
        '<x:script xmlns:x="http://www.w3.org/1999/xhtml">alert(1)</x:script>',
        '<x:p xmlns:x="http://www.w3.org/1999/xhtml"/>',
        "<foreignObject/>",
        "<handler/>",
        "<listener/>",
    ],
)
def test_elements_that_run_or_hold_a_page_are_refused(inside: str) -> None:
    with pytest.raises(UnsupportedType, match="can run or hold a page"):
        check_svg(a_drawing(f"<g>{inside}</g>"))


@pytest.mark.parametrize("attributes", ['onload="alert(1)"', 'ONCLICK="x()"', 'xlink:onfocus="x()"'])
def test_event_handlers_are_refused(attributes: str) -> None:
    with pytest.raises(UnsupportedType, match="event handler"):
        check_svg(a_drawing("", attributes))


@pytest.mark.parametrize(
    "inside",
    [
        '<a href="javascript:alert(1)"/>',
        '<a xlink:href=" java&#10;script:alert(1)"/>',
        '<a href="data:text/html,x"/>',
        '<image href="data:image/svg+xml;base64,PHN2Zz4="/>',
        '<image href="https://example.org/pixel.png"/>',
        '<image href="file:///etc/passwd"/>',
        '<use xlink:href="other.svg#a"/>',
        '<image src="//example.org/"/>',
    ],
)
def test_references_to_anything_outside_are_refused(inside: str) -> None:
    with pytest.raises(UnsupportedType, match="reference to something outside"):
        check_svg(a_drawing(inside))


@pytest.mark.parametrize("name", ["href", "xlink:href", " HREF "])
def test_an_animation_cannot_put_a_reference_in_later(name: str) -> None:
    with pytest.raises(UnsupportedType, match="animation of a reference"):
        check_svg(a_drawing(f'<a><set attributeName="{name}" to="javascript:alert(1)"/></a>'))


def test_a_document_as_deep_as_it_is_long_is_read() -> None:
    check_svg(a_drawing("<g>" * 50_000 + "</g>" * 50_000))

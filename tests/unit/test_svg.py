from __future__ import annotations

import gc
import time

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


@pytest.mark.parametrize(
    "inside",
    [
        "<style>@import 'https://example.org/a.css';</style>",
        "<style>@im<!-- -->port 'a.css';</style>",
        "<style><![CDATA[@IMPORT url(a.css)]]></style>",
        "<style>@\\69mport 'a.css'</style>",
        "<style>@font-face { src: url( 'https://example.org/a.woff' ) }</style>",
        "<STYLE>.a { cursor: image-set('a.png' 1x) }</STYLE>",
        "<style>.a { fill: \\75\\000072l(//example.org/#a) }</style>",
        '<path fill="url(https://example.org/#a)"/>',
        '<path fill="u\\rl(&quot;a.svg#a&quot;)"/>',
        '<path style="filter:URL(&#10;http://example.org/#a)"/>',
        '<path mask="url(file:///etc/passwd)"/>',
        '<path style="fill:url(data:image/svg+xml,x)"/>',
        '<set attributeName="fill" to="url(//example.org/)"/>',
    ],
)
def test_style_sheets_and_attributes_that_fetch_are_refused(inside: str) -> None:
    with pytest.raises(UnsupportedType, match="outside of it in its styles"):
        check_svg(a_drawing(inside))


def test_a_base_that_makes_its_own_names_those_of_another_file_is_refused() -> None:
    with pytest.raises(UnsupportedType, match="reference to something outside"):
        check_svg(a_drawing('<g xml:base="https://example.org/"><use href="#a"/></g>'))


def test_an_element_that_parts_the_text_of_a_style_sheet_is_refused() -> None:
    with pytest.raises(UnsupportedType, match="within a style sheet"):
        check_svg(a_drawing("<style>@im<g>x</g>port 'a.css';</style>"))


@pytest.mark.parametrize(
    "inside",
    [
        "<style>.a { fill: url(#a); content: '\\201C' } @media print { .a { mask: url( '#b' ) } }</style>",
        '<path fill="url(#a) none" style="mask:url(&quot;#b&quot;);fill:url(data:image/png;base64,AAAA)"/>',
        '<g id="image(1)"/><text>@import url(http://example.org/)</text>',
        '<a href="https://example.org/?q=url(x)"/>',
    ],
)
def test_styles_that_name_what_is_in_the_drawing_are_taken(inside: str) -> None:
    check_svg(a_drawing(inside))


@pytest.mark.parametrize(
    "size",
    ['width="100001"', 'height="1e9px"', 'viewBox="0 0 10 100001"', 'width="9" viewBox="0 0 1 1e6"', f'width="{"9" * 500_000}" height="1"'],
)
def test_a_size_that_exhausts_who_draws_it_is_refused(size: str) -> None:
    with pytest.raises(UnsupportedType, match="over 100000"):
        check_svg(a_drawing("", size))


@pytest.mark.parametrize("size", ['width="100000" height="1.5e3mm"', 'width="297mm" height="210mm" viewBox="0 0 297002 210007"'])
def test_a_large_drawing_is_taken(size: str) -> None:
    check_svg(a_drawing('<rect width="1e9"/>', size))


def copies_of_copies(levels: int, href: str) -> bytes:
    return a_drawing('<g id="a0"/>' + "".join(f'<g id="a{n + 1}">{f"<use {href}{n}'/>" * 2}</g>' for n in range(levels)))


@pytest.mark.parametrize("href", ["href='#a", "xlink:href=' #%61"])
def test_copies_of_copies_beyond_a_million_are_refused(href: str) -> None:
    check_svg(copies_of_copies(15, href))
    for levels in (20, 20_000):
        with pytest.raises(UnsupportedType, match="more than 1000000 elements again"):
            check_svg(copies_of_copies(levels, href))


def test_a_copy_of_a_large_group_counts_as_all_that_is_in_it() -> None:
    group = f'<g id="a"><g id="b">{"<path/>" * 1000}</g></g>'
    check_svg(a_drawing(group + '<use href="#a"/>' * 900))
    with pytest.raises(UnsupportedType, match="elements again"):
        check_svg(a_drawing(group + '<use href="#a"/>' * 1100))


def test_an_id_given_many_times_is_drawn_once_for_each_use() -> None:
    def seconds(times: int) -> float:
        drawing = a_drawing('<g id="a"/>' * times + '<use href="#a"/>' * times)
        gc.disable()  # its time grows with all that the other tests have left
        try:
            before = time.process_time()
            check_svg(drawing)
            return time.process_time() - before
        finally:
            gc.enable()

    # eight times as long is 8 times the work, or 64 where each looks at each
    assert seconds(20_000) < 32 * min(seconds(2500) for _ in range(3))


def test_a_copy_of_itself_is_refused() -> None:
    with pytest.raises(UnsupportedType, match="draws itself"):
        check_svg(a_drawing('<g id="a"><g><use href="#a"/></g></g>'))


def test_a_plot_of_many_markers_is_taken() -> None:
    check_svg(a_drawing('<defs><path id="m"/></defs>' + '<use xlink:href="#m"/>' * 50_000))


@pytest.mark.parametrize("name", ["href", "xlink:href", " HREF "])
def test_an_animation_cannot_put_a_reference_in_later(name: str) -> None:
    with pytest.raises(UnsupportedType, match="animation of a reference"):
        check_svg(a_drawing(f'<a><set attributeName="{name}" to="javascript:alert(1)"/></a>'))


def test_a_document_as_deep_as_it_is_long_is_read() -> None:
    check_svg(a_drawing("<g>" * 50_000 + "</g>" * 50_000))

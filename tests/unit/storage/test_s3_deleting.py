"""DeleteObjects: what is written quickly is what botocore writes, and no key is taken for gone whose answer does not say so."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import pytest
from botocore.exceptions import ClientError, ParamValidationError
from hypothesis import given
from hypothesis import strategies as st

from stocktake.storage import s3_client
from stocktake.storage.s3_deleting import plainly_gone
from tests.unit.storage.wire import Reply, Wire, a_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
END = "</DeleteResult>"
REFUSED = "<Error><Key>k</Key><Code>AccessDenied</Code><Message>no &lt;Deleted&gt;</Message></Error>"
KEYS = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff", include_characters="\t\r\n<>&'\""), min_size=1
)


def a_row(key: str) -> str:
    return f"<Deleted><Key>{escape(key)}</Key></Deleted>"


def test_a_key_is_written_as_botocore_writes_it() -> None:
    for asked in ([{"Key": "a/b c"}], [{"Key": "<&>\"'\r\n\té😀]]>", "VersionId": "v<1>"}, {"Key": "b"}]):
        assert sent(asked) == sent(asked, plainly=False)


@given(st.lists(st.builds(dict, Key=KEYS, VersionId=KEYS) | st.builds(dict, Key=KEYS), min_size=1, max_size=4))
def test_any_keys_are_written_as_botocore_writes_them(asked: list[dict[str, str]]) -> None:
    assert sent(asked) == sent(asked, plainly=False)


def test_what_is_not_rightly_asked_is_left_to_botocore_to_say() -> None:
    with pytest.raises(ParamValidationError, match="Wrong"):
        sent([{"Key": "a", "Wrong": "b"}])


@given(st.lists(KEYS, min_size=1, max_size=5), st.sampled_from(["", REFUSED]), st.sampled_from(["", REFUSED]))
def test_what_is_read_plainly_is_what_botocore_reads(keys: list[str], before: str, after: str) -> None:
    body = HEAD + before + "".join(map(a_row, keys)) + after + END
    reply, usual = answer(body), answer(body, plainly=False)
    assert sorted([*plainly_gone(reply), *(row["Key"] for row in reply.get("Deleted", ()))]) == sorted(
        row["Key"] for row in usual["Deleted"]
    )
    assert reply.get("Errors") == usual.get("Errors")


def test_plain_rows_are_taken_out() -> None:
    reply = answer(HEAD + a_row("a") + a_row("é") + REFUSED + END)
    assert (plainly_gone(reply), "Deleted" in reply, len(reply["Errors"])) == (["a", "é"], False, 1)


@pytest.mark.parametrize(
    "body",
    [
        HEAD + "<!--" + a_row("a") + "-->" + END,
        HEAD + "<![CDATA[" + a_row("a") + "]]>" + END,
        HEAD + "<Error><Key>a</Key>" + a_row("a") + "</Error>" + END,
        HEAD + f"<Error>{a_row('a')}</Error>" + END,
        HEAD + a_row("a") + "<!--" + a_row("b") + "-->" + END,
        HEAD + "<Deleted><Key>&#97;</Key></Deleted>" + END,
        HEAD + "<Deleted><Key>a</Key><VersionId>v</VersionId></Deleted>" + END,
        HEAD + "<Deleted><Key>a</Key><DeleteMarker>true</DeleteMarker></Deleted>" + END,
        HEAD + "<Deleted></Deleted>" + END,
        HEAD.replace("UTF-8", "ISO-8859-1") + a_row("a") + END,
        HEAD + END,
    ],
)
def test_what_is_not_plain_is_left_to_botocore(body: str) -> None:
    assert plainly_gone(answer(body)) == ()


def test_an_error_in_a_200_is_an_error_whatever_it_holds() -> None:
    with pytest.raises(ClientError):
        answer("<Error><Code>InternalError</Code>" + a_row("a") + "</Error>")


@pytest.mark.parametrize("cut", [1, len(END), len(END) + 1, len(END) + len("</Deleted>")])
def test_an_answer_that_was_cut_off_is_no_answer(cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)  # it asks again
    with pytest.raises(ClientError, match="Internal Server Error"):
        answer((HEAD + a_row("a") + END)[:-cut])


# ---- small


@cache
def wired(*, plainly: bool) -> tuple[S3Client, Wire]:
    with pytest.MonkeyPatch.context() as patched:
        if not plainly:
            patched.setattr(s3_client, "write_and_read_plainly", lambda client: None)
        client = a_client()
    return client, Wire(client)


def sent(asked: list[dict[str, str]], *, plainly: bool = True) -> bytes:
    """Gives the body of the request."""
    client, wire = wired(plainly=plainly)
    wire.otherwise = lambda _: Reply(body=b"<DeleteResult/>")
    client.delete_objects(Bucket="media", Delete={"Objects": asked, "Quiet": False})  # type: ignore[typeddict-item]  # what is wrong is tried too
    return wire.requests[-1].body


def answer(body: str, *, plainly: bool = True) -> Any:
    """Gives what botocore and we make of an answer."""
    client, wire = wired(plainly=plainly)
    wire.otherwise = lambda _: Reply(body=body.encode())
    return client.delete_objects(Bucket="media", Delete={"Objects": [{"Key": "a"}]})

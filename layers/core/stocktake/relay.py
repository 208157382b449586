"""Relay: notifications that lie in a queue elsewhere, carried into ours.

What is carried is not looked into. A message that is no notification is carried like the others, so that it ends in the one dead-letter
queue that an operator watches, and not nowhere, as what a queue of Cloudflare's has delivered too often.

The order is: ours has it, then theirs may forget it. A crash between the two brings a message twice, which events may be.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

_NOT_CARRIED = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no message of SQS may hold. Source: its SendMessage reference."""


@dataclass(frozen=True, slots=True)
class Leased:
    """One message of the other queue, ours for a while. Its body is text that a queue carries."""

    lease_id: str
    body: str


@dataclass(frozen=True, slots=True)
class Relayed:
    """How many messages were carried over, and how many stayed where they were because our queue did not take them."""

    carried: int
    left: int


def relay(
    pull: Callable[[], Sequence[Leased]],
    send: Callable[[Sequence[str]], Collection[int]],
    acknowledge: Callable[[Sequence[str]], None],
    *,
    out_of_time: Callable[[], bool],
) -> Relayed:
    """Carries messages over until there are none or the time is over.

    Args:
        pull: leases some messages; none when the queue is empty.
        send: puts bodies on our queue and returns the places of those it took.
        acknowledge: forgets messages by their leases. It is told of none that our queue does not have.

    Raises:
        MessagingError, ConfigurationError: one of the queues could not be asked. What was not acknowledged by then comes again.
    """
    carried = left = 0
    while not out_of_time():
        leased = pull()
        if not leased:
            break
        taken = send([message.body for message in leased])
        acknowledge([leased[place].lease_id for place in sorted(taken)])
        carried += len(taken)
        left += len(leased) - len(taken)
    return Relayed(carried, left)


def carried_text(body: Any) -> str:
    """Returns a message's body as text that a queue carries: JSON, if there is any in it.

    Cloudflare's queues say that JSON and bytes come as base64, and their own example shows it plain. So the content decides: an object or
    list is taken as it is, or else from base64 that holds one. Anything else stays the text it was, and is refused where it is read.
    """
    if not isinstance(body, str):
        text = json.dumps(body, ensure_ascii=False)
    elif _is_document(body):
        text = body
    else:
        decoded = _from_base64(body)
        text = decoded if _is_document(decoded) else body
    if not _NOT_CARRIED.search(text):
        return text
    return json.dumps(json.loads(text) if _is_document(text) else text)


def _is_document(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def _from_base64(text: str) -> str:
    try:
        return binascii.a2b_base64(text, strict_mode=True).decode()
    except ValueError:  # UnicodeDecodeError is one
        return ""

"""The queue of Cloudflare's that R2 sends its events to, asked over HTTP.

Source: Cloudflare Queues, "Pull consumers", and the API reference of messages/pull and messages/ack.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import urllib3

from stocktake.errors import ConfigurationError, MessagingError
from stocktake.relay import Leased, carried_text

API = "https://api.cloudflare.com"

LEASE_MS = 120_000
"""As long as a whole run of the function that pulls."""

_BATCH = 100  # the most one pull gives
_TIMES = urllib3.Timeout(connect=3, read=10)


class R2Queue:
    """One queue of one account.

    No request is sent again from here: the next run asks anew, what was leased and not acknowledged comes again, and twice does no harm.
    """

    def __init__(self, *, account_id: str, queue_id: str, token: str, api: str = API) -> None:
        self._messages = f"{api}/client/v4/accounts/{account_id}/queues/{queue_id}/messages"
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "User-Agent": "stocktake"}
        # retries=False follows no redirect either: the token goes to no other place
        self._pool = urllib3.PoolManager(timeout=_TIMES, retries=False)

    def pull(self) -> list[Leased]:
        """Leases up to a hundred messages for two minutes; none when the queue is empty.

        Raises:
            ConfigurationError: the token, the account or the queue is not right.
            MessagingError: no answer, or none that can be read; asking again is safe.
        """
        reply = self._post("pull", {"batch_size": _BATCH, "visibility_timeout_ms": LEASE_MS})
        try:
            return [Leased(message["lease_id"], carried_text(message["body"])) for message in reply["result"]["messages"]]
        except (KeyError, TypeError) as error:
            raise MessagingError(f"Cloudflare's answer to a pull lacks {error}: the events stay in its queue") from error

    def acknowledge(self, lease_ids: Sequence[str]) -> None:
        """Lets the queue forget messages. Raises as `pull` does; what was not forgotten comes again."""
        if lease_ids:
            self._post("ack", {"acks": [{"lease_id": lease_id} for lease_id in lease_ids], "retries": []})

    def _post(self, action: str, document: Mapping[str, Any]) -> Any:
        try:
            response = self._pool.request("POST", f"{self._messages}/{action}", body=json.dumps(document).encode(), headers=self._headers)
            reply = json.loads(response.data) if response.status == 200 else None
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise MessagingError(f"Cloudflare's queue could not be asked to {action} ({type(error).__name__}): try again") from error
        if response.status in (401, 403, 404):
            raise ConfigurationError(
                f"Cloudflare answered {response.status} to a {action}: check R2QueueAccountId, R2QueueId, that the queue has an HTTP pull "
                "consumer, and that the token of R2QueueTokenSecretArn may edit Queues"
            )
        if not isinstance(reply, dict) or reply.get("success") is not True:
            raise MessagingError(f"Cloudflare's queue did not {action} (HTTP {response.status}): try again")
        return reply

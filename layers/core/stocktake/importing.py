"""Reads a file from a URL that a stranger names, without becoming the stranger's hand inside our network (SSRF).

1. the host is one the operator named, and a name: no address in any notation gets as far as being looked up;
2. the name is resolved once, and every address it has must be public: one that is not refuses all of them;
3. the connection goes to one of those very addresses, so that no second answer of the DNS can lead elsewhere; TLS is held against the name;
4. no redirect is followed, no proxy of the environment is used, nothing is decoded;
5. bytes and seconds are counted while they come: the length a server announces is only a first guess, and each read gets what is left.

What a name resolves to is never told: one answer for a name that does not exist and for one that leads inside.

The standard library's client and not urllib3's: that one logs the whole URL, signature included, when a server's headers are malformed.
"""

from __future__ import annotations

import http.client
import ipaddress
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from stocktake.errors import ConfigurationError, ImportDisabled, ImportRefused, TooLarge

MAX_URL_LENGTH = 2048
_PORT = 443
_CHUNK = 16_384  # a TLS record holds no more
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# Two labels at least, and a last one that begins with a letter: so no decimal, octal or hexadecimal spelling of an address is a name.
_HOST_NAME = re.compile(rf"(?:{_LABEL}\.)+[a-z][a-z0-9-]{{0,61}}[a-z0-9]")
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*")

_UNICAST_6 = ipaddress.ip_network("2000::/3")
"""All of IPv6 that is given out: mapped, site-local, NAT64 and multicast addresses lie outside. Source: IANA, IPv6 address space."""

_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments: two of them count as global, and one is the nearest NAT
        "192.88.99.0/24",  # 6to4 relays
        "2001::/23",  # protocol assignments, Teredo among them
        "2002::/16",  # 6to4: holds an IPv4 address
        "3fff::/20",  # documentation
    )
)
"""What `is_global` of the library takes for public, or did in an earlier release: its lists change within a version of Python.

Source: IANA, special-purpose address registries.
"""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a URL gave. `url` is as it was asked for; its query can be a signature, so it is not shown."""

    body: bytes
    content_type: str | None
    url: str

    def __repr__(self) -> str:
        return f"Fetched({len(self.body)} bytes, {self.content_type!r}, {re.split('[?#]', self.url)[0]!r})"


class Fetcher:
    """Fetches from the hosts an operator named."""

    def __init__(
        self,
        *,
        hosts: Sequence[str],
        max_bytes: int,
        seconds: float,
        resolve: Callable[[str, float], Sequence[str]] | None = None,
        open: Callable[[str, float], socket.socket] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Touches nothing yet.

        Args:
            hosts: none to refuse every import, `*` for any public host, else names; `.example.com` means the domain and all below it.
            max_bytes: the largest file taken.
            seconds: for one import, from looking the name up to the last byte.
            resolve: gives all addresses of a name in at most so many seconds; `addresses_of` unless told.
            open: connects to an address in at most so many seconds; `connect` unless told.
            clock: seconds that only grow.

        Raises:
            ConfigurationError: an entry of `hosts` is none of these.
        """
        self._any_host = "*" in hosts
        self._hosts = tuple(_read_entry(entry) for entry in hosts if entry != "*")
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._resolve = resolve or addresses_of
        self._open = open or connect
        self._clock = clock

    def fetch(self, url: str) -> Fetched:
        """Reads the file at `url` into memory, with one GET.

        Args:
            url: https, at most 2,048 characters, ASCII after the host.

        Returns:
            The bytes as they came, and the media type the server names, in lower case and without parameters: not to be believed.

        Raises:
            ImportDisabled: imports are off, or not allowed from that host; nothing was asked.
            ImportRefused: the URL may not be fetched, or gave nothing that can be taken: a redirect, an error, an encoding, half a file.
            TooLarge: the file has more than `max_bytes`.
        """
        host, target = self.allowed(url)
        with self._answer(host, target) as response:
            self._check(response, host)
            return Fetched(self._read(response, host), _media_type(response.getheader("Content-Type")), url)

    def allowed(self, url: str) -> tuple[str, str]:
        """Returns host and target of a URL that `fetch` would ask; asks nobody.

        Raises:
            ImportDisabled: imports are off, or not allowed from that host.
            ImportRefused: the URL may not be fetched.
        """
        if not self._any_host and not self._hosts:
            raise ImportDisabled("importing from URLs is off: set ImportHosts to the hosts that files may come from, or send the bytes")
        host, target = read_url(url)
        if not self._is_allowed(host):
            raise ImportDisabled(f"importing from {host} is not allowed: add it to ImportHosts, or send the bytes")
        return host, target

    def begin(self, url: str, count: int) -> tuple[int, bytes, str | None]:
        """Asks for the first `count` bytes at `url`, with one GET, as `fetch` would for all of them.

        Returns:
            The status, whatever it is; at most so many bytes of what came with it; and the media type the server names.

        Raises:
            ImportDisabled: that host was not named; nothing was asked.
            ImportRefused: the URL may not be fetched, or nobody answered.
        """
        host, target = read_url(url)
        if not self._is_allowed(host):
            raise ImportDisabled(f"importing from {host} is not allowed: add it to ImportHosts, or send the bytes")
        with self._answer(host, target, {"Range": f"bytes=0-{count - 1}"}) as response:
            return response.status, response.read(count), _media_type(response.getheader("Content-Type"))

    @contextmanager
    def _answer(self, host: str, target: str, more: Mapping[str, str] | None = None) -> Iterator[http.client.HTTPResponse]:
        """Sends the one GET, and tells what goes wrong with it and its answer in our words."""
        deadline = _Deadline(self._seconds, self._clock)
        try:
            with self._asked(self._connection(host, deadline), host, target, more or {}) as response:
                yield response
        except TimeoutError as error:
            raise ImportRefused(f"{host} took longer than {self._seconds:g} seconds: try again, or send the bytes") from error
        except ssl.SSLCertVerificationError as error:
            raise ImportRefused(f"the certificate of {host} is not valid for that name: give a URL whose host can be trusted") from error
        except (OSError, http.client.HTTPException) as error:
            raise ImportRefused(f"nothing whole could be read from {host} over HTTPS: try again, or send the bytes") from error

    def _is_allowed(self, host: str) -> bool:
        return self._any_host or any(host == entry or (entry[0] == "." and f".{host}".endswith(entry)) for entry in self._hosts)

    def _connection(self, host: str, deadline: _Deadline) -> _TimedSocket:
        with self._dial(self._public_addresses(host, deadline), deadline) as raw:  # wrapped, it is an empty shell that closes nothing
            raw.settimeout(deadline.left())
            # Without close_notify a body that ends with the connection may have been cut: that is an error and no end.
            connection = self._tls.wrap_socket(raw, server_hostname=host, suppress_ragged_eofs=False)
        assert isinstance(connection, _TimedSocket)
        connection.deadline = deadline
        return connection

    def _public_addresses(self, host: str, deadline: _Deadline) -> Sequence[str]:
        try:
            addresses = self._resolve(host, deadline.left())
        except socket.gaierror:
            addresses = ()
        if not addresses or not all(is_public(address) for address in addresses):
            raise ImportRefused(f"{host} does not lead to public addresses alone: give a URL that everybody can read, or send the bytes")
        return addresses

    def _dial(self, addresses: Sequence[str], deadline: _Deadline) -> socket.socket:
        *others, last = addresses
        for position, address in enumerate(others):
            try:
                return self._open(address, deadline.left() / (len(addresses) - position))  # a silent one leaves time for the others
            except OSError:
                continue
        return self._open(last, deadline.left())

    @contextmanager
    def _asked(self, connection: _TimedSocket, host: str, target: str, more: Mapping[str, str]) -> Iterator[http.client.HTTPResponse]:
        with closing(http.client.HTTPConnection(host)) as client:
            client.sock = connection  # an open socket is used as it is: the client resolves and dials nothing
            headers = {"Host": host, "User-Agent": "stocktake", "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
            client.request("GET", target, headers={**headers, **more})
            with closing(client.getresponse()) as response:
                yield response

    def _check(self, response: http.client.HTTPResponse, host: str) -> None:
        if 300 <= response.status < 400:
            raise ImportRefused(f"{host} answered with a redirect ({response.status}), which is not followed: give the final URL")
        if response.status != 200:
            raise ImportRefused(f"{host} answered {response.status} and not 200: give a URL that anyone who holds it can read")
        if response.getheader("Content-Encoding", "identity").strip().lower() != "identity":
            raise ImportRefused(f"{host} sent the file encoded although it was asked not to: send the bytes")

    def _read(self, response: http.client.HTTPResponse, host: str) -> bytes:
        too_large = TooLarge(f"the file at {host} is over the limit of {self._max_bytes} bytes: import a smaller one")
        if response.length is not None and response.length > self._max_bytes:
            raise too_large
        body = bytearray()
        # read1 and not read: a chunk that says its size is -1 makes read take everything there is, however much
        while chunk := response.read1(_CHUNK):
            body += chunk
            if len(body) > self._max_bytes:
                raise too_large
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
        return bytes(body)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.sslsocket_class = _TimedSocket
        return context


def is_public(address: str) -> bool:
    """Tells whether an address belongs to the public internet: to no network of ours, of a link, of a host, and to no tunnel into one."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and (ip.scope_id is not None or ip not in _UNICAST_6):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not any(ip in network for network in _NOT_PUBLIC)


def addresses_of(host: str, seconds: float) -> Sequence[str]:
    """Asks the DNS once for all IPv4 and IPv6 addresses of `host`.

    The system's resolver takes no time limit, so it is asked in a thread of its own, which is left behind when the time is over.

    Raises:
        socket.gaierror: the name has none.
        TimeoutError: no answer within `seconds`.
    """
    answers: queue.SimpleQueue[list[str] | socket.gaierror] = queue.SimpleQueue()

    def ask() -> None:
        try:
            # the dot at the end keeps the search list of the resolver out
            rows = socket.getaddrinfo(f"{host}.", _PORT, type=socket.SOCK_STREAM)
            answers.put([str(row[4][0]) for row in rows])
        except socket.gaierror as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError("the DNS did not answer") from None
    if isinstance(answer, socket.gaierror):
        raise answer
    return answer


def connect(address: str, seconds: float) -> socket.socket:
    """Opens a connection to port 443 of `address`, past any proxy. Raises OSError, and TimeoutError after `seconds`."""
    return socket.create_connection((address, _PORT), timeout=seconds)


class _Deadline:
    """A moment by which everything has to be done."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def left(self) -> float:
        """Returns the seconds that are left, more than 0. Raises TimeoutError."""
        left = self._end - self._clock()
        if left <= 0:
            raise TimeoutError("the time for the whole import is over")
        return left


class _TimedSocket(ssl.SSLSocket):
    """A connection whose reads end together at one deadline: a timeout of the socket alone begins anew with every byte that drips in."""

    deadline: _Deadline

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        self.settimeout(self.deadline.left())
        return super().recv_into(*arguments, **options)


def read_url(url: str) -> tuple[str, str]:
    """Takes a URL apart into the host, as the DNS spells it, and what to ask it for; asks nobody.

    Raises:
        ImportRefused: it is none that is ever fetched. No message shows the URL: it may hold a secret.
    """
    if len(url) > MAX_URL_LENGTH:
        raise ImportRefused(f"the URL has {len(url)} characters and the limit is {MAX_URL_LENGTH}: give a shorter one")
    if not url.isprintable() or " " in url or "\\" in url:
        raise ImportRefused("the URL holds a space, a backslash or a character that cannot be seen: percent-encode it")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ImportRefused("the URL cannot be read: give one such as https://images.example.com/a.png") from None
    if parts.scheme != "https":
        raise ImportRefused("only https is imported: give a URL that begins with https://")
    if "@" in parts.netloc:
        raise ImportRefused("the URL holds a user name or a password: give one that needs none")
    name, _, port = parts.netloc.partition(":")
    host = _host_name(name)
    if host is None:
        raise ImportRefused("the URL names no host as the DNS has them: give a full name such as images.example.com, not an address")
    if port not in ("", str(_PORT)):
        raise ImportRefused(f"only port {_PORT} is imported from: give a URL without a port")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.isascii():
        raise ImportRefused("the URL holds letters outside ASCII after the host: percent-encode them")
    return host, target


def _host_name(text: str) -> str | None:
    """Returns a host's name as the DNS spells it (IDNA, lower case, no dot at the end), or None if it is none."""
    try:
        # before anything is looked at: the encoding turns full-width digits and dots into plain ones
        name = text.encode("idna").decode().lower().removesuffix(".")
    except UnicodeError:
        return None
    return name if len(name) <= 253 and _HOST_NAME.fullmatch(name) else None


def _read_entry(entry: str) -> str:
    name = _host_name(entry.removeprefix("."))
    if name is None:
        raise ConfigurationError(f"ImportHosts holds {entry!r}: give host names, .example.com for a domain and all below it, or * alone")
    return f".{name}" if entry.startswith(".") else name


def _media_type(header: str | None) -> str | None:
    said = (header or "").partition(";")[0].strip().lower()
    return said if _MEDIA_TYPE.fullmatch(said) else None

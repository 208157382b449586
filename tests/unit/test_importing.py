"""Importing from a URL: what is never dialled, and what a host that means harm cannot do. The hosts are TLS servers on the loopback."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stocktake import importing
from stocktake.errors import ConfigurationError, ImportDisabled, ImportRefused, TooLarge
from stocktake.importing import Fetched, Fetcher, addresses_of, is_public

HOST = "images.example.com"
URL = f"https://{HOST}/a.png?signature=s3cret"
PUBLIC = "93.184.215.14"
PUBLIC_6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
BODY = bytes(range(256)) * 100
LIMIT = 50_000

NOT_PUBLIC = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "192.0.0.9",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:8.8.8.8",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:a9fe:a9fe::1",
    "2002:808:808::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    f"{PUBLIC_6}%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "",
    "localhost",
    "8.8.8.8.",
    "0x8.8.8.8",
]


# ── hosts ──


class Issuer:
    """A certificate authority made for one run of the tests."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.path = folder / f"{name}.pem"
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = self._certificate(self._name, self._key, datetime.now(UTC))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).add_extension(usage, critical=True)
        self.path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, issued: datetime) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(issued - timedelta(hours=1))
            .not_valid_after(issued + timedelta(hours=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def server(self, name: str, *, issued: datetime | None = None) -> ssl.SSLContext:
        """Returns what a server needs to speak for `name`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._certificate(subject, key, issued or datetime.now(UTC))
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        path = self._folder / f"{key.public_key().public_numbers().x:x}.pem"
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_bytes(private + builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


Answer = Callable[[ssl.SSLSocket], None]


class Server:
    """A host on the loopback: it reads a request's head, keeps it, and answers as it is told."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.heads: list[str] = []
        self.names: list[str | None] = []
        self.answer: Answer = lambda peer: None
        self.greet: Callable[[socket.socket], None] = lambda peer: None
        self._context = context
        if context is not None:
            context.sni_callback = lambda peer, name, context: self.names.append(name)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def dial(self) -> socket.socket:
        """Connects with more patience than any test has: the fetcher's own has to do."""
        return socket.create_connection(self._listener.getsockname(), timeout=30)

    def close(self) -> None:
        """Ends once the last answer has ended; closing again does nothing."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _run(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer, contextlib.suppress(OSError):  # what the fetcher does not want to hear any more
                peer.settimeout(10)
                self.greet(peer)
                if self._context is not None:
                    self._converse(self._context.wrap_socket(peer, server_side=True))

    def _converse(self, peer: ssl.SSLSocket) -> None:
        with peer:
            head = b""
            while not head.endswith(b"\r\n\r\n") and (more := peer.recv(4096)):
                head += more
            self.heads.append(head.decode())
            self.answer(peer)


def sending(*parts: bytes, every: float = 0, cut: bool = False) -> Answer:
    """Sends the parts, with a pause after each, and says goodbye as TLS wants it, unless `cut`."""

    def answer(peer: ssl.SSLSocket) -> None:
        for part in parts:
            peer.sendall(part)
            time.sleep(every)
        if not cut:
            peer.unwrap()

    return answer


def response(body: bytes = BODY, *headers: str, status: str = "200 OK", length: int | None = -1) -> bytes:
    """A whole response; -1 for the length of the body, None for none."""
    lengths = [] if length is None else [f"Content-Length: {len(body) if length == -1 else length}"]
    return "\r\n".join([f"HTTP/1.1 {status}", *lengths, *headers, "", ""]).encode() + body


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("certificates"), "trusted")


@pytest.fixture(scope="module")
def certificate(issuer: Issuer) -> ssl.SSLContext:
    return issuer.server(HOST)


@pytest.fixture(autouse=True)
def trust(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(issuer.path))  # OpenSSL's own name for the certificates of the system


@pytest.fixture
def server(certificate: ssl.SSLContext) -> Iterator[Server]:
    with contextlib.closing(Server(certificate)) as server:
        server.answer = sending(response())
        yield server


class Names:
    """A DNS that gives one answer after the other, the last one again and again, and knows what it was asked."""

    def __init__(self, *answers: Sequence[str] | OSError) -> None:
        self._answers = answers
        self.asked: list[str] = []

    def __call__(self, host: str, seconds: float) -> Sequence[str]:
        answer = self._answers[min(len(self.asked), len(self._answers) - 1)]
        self.asked.append(host)
        if isinstance(answer, OSError):
            raise answer
        return answer


class Network:
    """Leads every address to one server, or nowhere, and knows which were dialled."""

    def __init__(self, server: Server | None = None, *, silent: int = 0) -> None:
        self._server, self._silent = server, silent
        self.dialled: list[str] = []
        self.shares: list[float] = []

    def __call__(self, address: str, seconds: float) -> socket.socket:
        self.dialled.append(address)
        self.shares.append(seconds)
        if self._server is None:
            raise ConnectionRefusedError
        if len(self.dialled) <= self._silent:
            raise TimeoutError
        return self._server.dial()


def a_fetcher(
    server: Server | None = None,
    *,
    hosts: Sequence[str] = ("*",),
    names: Names | None = None,
    network: Network | None = None,
    seconds: float = 10,
    max_bytes: int = LIMIT,
    clock: Callable[[], float] = time.monotonic,
) -> Fetcher:
    return Fetcher(
        hosts=hosts,
        max_bytes=max_bytes,
        seconds=seconds,
        resolve=names or Names([PUBLIC]),
        open=network or Network(server),
        clock=clock,
    )


# ── what is fetched ──


def test_a_file_comes_as_it_is_sent(server: Server) -> None:
    server.answer = sending(response(BODY, "Content-Type: Image/PNG; charset=binary"))
    assert a_fetcher(server).fetch(URL) == Fetched(BODY, "image/png", URL)


def test_the_request_names_the_host_and_asks_for_nothing_else(server: Server) -> None:
    a_fetcher(server).fetch("https://Images.Example.com:443/a%2fb/../c;d?x=%7e&y=1+2#part")
    assert server.names == [HOST]
    assert server.heads[0].split("\r\n") == [
        "GET /a%2fb/../c;d?x=%7e&y=1+2 HTTP/1.1",
        f"Host: {HOST}",
        "User-Agent: stocktake",
        "Accept: */*",
        "Accept-Encoding: identity",
        "Connection: close",
        "",
        "",
    ]


def test_a_url_without_a_path_asks_for_the_root(server: Server) -> None:
    a_fetcher(server).fetch(f"https://{HOST}?a=1")
    assert server.heads[0].startswith("GET /?a=1 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "parts",
    [
        (response(BODY, length=None),),
        (response(b"", "Transfer-Encoding: chunked", length=None), b"6400\r\n" + BODY + b"\r\n", b"0\r\n\r\n"),
        (response(b"", "Transfer-Encoding: chunked", length=None), *(b"100\r\n" + BODY[:256] + b"\r\n" for _ in range(100)), b"0\r\n\r\n"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + response(),),
        (response(BODY, "Content-Encoding: Identity"),),
    ],
    ids=["to its end", "one chunk", "many chunks", "after a continue", "said not to be encoded"],
)
def test_a_file_is_whole_however_it_is_framed(server: Server, parts: tuple[bytes, ...]) -> None:
    server.answer = sending(*parts)
    assert a_fetcher(server).fetch(URL).body == BODY


@pytest.mark.parametrize("header", ["", "image", "text/html\r\n x: y", 'image/png"', "image/png, image/gif", "/png"])
def test_a_media_type_that_is_none_is_not_passed_on(server: Server, header: str) -> None:
    server.answer = sending(response(BODY, f"Content-Type: {header}"))
    assert a_fetcher(server).fetch(URL).content_type is None


def test_a_file_of_exactly_the_limit_is_taken(server: Server) -> None:
    assert a_fetcher(server, max_bytes=len(BODY)).fetch(URL).body == BODY


def test_a_proxy_of_the_environment_is_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert a_fetcher(server).fetch(URL).body == BODY


def test_what_was_fetched_does_not_show_its_bytes_or_its_query() -> None:
    assert repr(Fetched(b"secret", None, f"{URL}#part")) == f"Fetched(6 bytes, None, 'https://{HOST}/a.png')"


# ── which hosts ──


def test_importing_is_off_where_no_host_is_named() -> None:
    with pytest.raises(ImportDisabled, match="set ImportHosts"):
        a_fetcher(hosts=()).fetch("not even looked at")


@pytest.mark.parametrize(
    ("entry", "host"),
    [
        (HOST, HOST),
        (HOST.upper(), HOST),
        (HOST, f"{HOST}."),
        (".example.com", HOST),
        (".example.com", "a.b.example.com"),
        (".example.com", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "BÜCHER.example"),
        ("*", "anything.example.net"),
    ],
)
def test_a_host_that_is_named_is_asked(entry: str, host: str) -> None:
    with pytest.raises(ImportRefused, match="over HTTPS"):
        a_fetcher(hosts=("other.example.org", entry)).fetch(f"https://{host}/a.png")


@pytest.mark.parametrize(
    ("entry", "host"),
    [
        (HOST, "example.com"),
        (HOST, f"a.{HOST}"),
        (HOST, f"{HOST}.evil.example"),
        (".example.com", "badexample.com"),
        (".example.com", "example.com.evil.example"),
        ("example.com", "www.example.com"),
    ],
)
def test_another_host_is_not_asked_and_is_named(entry: str, host: str) -> None:
    names = Names([PUBLIC])
    with pytest.raises(ImportDisabled, match=rf"^importing from {host} is not allowed"):
        a_fetcher(hosts=(entry,), names=names).fetch(f"https://{host}/?signature=s3cret")
    assert names.asked == []


@pytest.mark.parametrize(
    "entry", ["", ".", "https://example.com", "*.example.com", "example", "10.0.0.1", "example.com:443", "example.com/"]
)
def test_an_entry_that_is_no_host_is_refused_at_once(entry: str) -> None:
    with pytest.raises(ConfigurationError, match="ImportHosts"):
        a_fetcher(hosts=(entry,))


# ── which URLs ──


@pytest.mark.parametrize(
    "url",
    [
        "",
        HOST,
        f"http://{HOST}/",
        f"//{HOST}/",
        f"ftp://{HOST}/",
        "file:///etc/passwd",
        f"https:{HOST}/",
        f"https:/{HOST}/",
        "https:///a.png",
        f"https://{HOST}:80/",
        f"https://{HOST}:8443/",
        f"https://{HOST}:0443/",
        f"https://{HOST}:443:443/",
        f"https://{HOST}:x/",
        f"https://user@{HOST}/",
        f"https://user:s3cret@{HOST}/",
        f"https://@{HOST}/",
        f"https://{HOST}@127.0.0.1/",
        f"https://{HOST}\\@127.0.0.1/",
        f"https://{HOST}\\a.png",
        f" https://{HOST}/",
        f"https://{HOST}/a\\b",
        f"https://{HOST}/a b",
        f"https://{HOST}/a\tb",
        f"https://{HOST}/\r\nX-Injected: 1",
        f"https://{HOST}/\x00",
        f"https://{HOST}/\x7f",
        f"https://{HOST}/\u00a0",
        f"https://{HOST}/\u200b",
        f"https://{HOST}/\udc80",
        f"https://{HOST}/ä.png",
        f"https://{HOST}/?ä",
        "https://localhost/",
        "https://intranet/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://017700000001/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://127.0.0.0x1/",
        "https://127.0.0.1./",
        "https://１２７.0.0.1/",
        "https://①②⑦.⓪.⓪.①/",
        "https://127。0。0。1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[fe80::1%25eth0]/",
        "https://[fe80::1%eth0]:443/",
        "https://[v1.a]/",
        "https://[::1/",
        "https://::1/",
        "https://images..example.com/",
        "https://.example.com/",
        "https://images.example.com../",
        "https://-images.example.com/",
        "https://images-.example.com/",
        "https://images_.example.com/",
        "https://images%2eexample.com/",
        "https://images.example.com%00.evil.example/",
        "https://images.example.com;x/",
        "https://images.example.1com/",
        "https://exa／mple.com/",
        f"https://{'a' * 64}.example.com/",
        "https://" + "a." * 130 + "example.com/",
        f"https://{HOST}/".ljust(2049, "a"),
    ],
)
def test_a_url_that_is_not_plain_https_to_a_name_leads_nowhere_and_is_not_shown(url: str) -> None:
    names = Names([PUBLIC])
    with pytest.raises(ImportRefused) as refused:
        a_fetcher(names=names).fetch(url)
    assert names.asked == []
    assert "s3cret" not in str(refused.value)


def test_a_url_with_a_password_is_told_that_it_has_one() -> None:
    with pytest.raises(ImportRefused, match="a user name or a password"):
        a_fetcher().fetch(f"https://user:s3cret@{HOST}/")


def test_the_longest_url_is_taken(server: Server) -> None:
    assert a_fetcher(server).fetch(f"https://{HOST}/".ljust(2048, "a")).body == BODY


def test_a_host_is_asked_for_as_the_dns_spells_it() -> None:
    names = Names([])
    with pytest.raises(ImportRefused):
        a_fetcher(names=names).fetch("https://BÜCHER。Example./")
    assert names.asked == ["xn--bcher-kva.example"]


@given(st.text(max_size=60).map(lambda text: f"https://{text}") | st.text(max_size=60))
@example("https://a.b\u2100c/")
def test_whatever_is_sent_as_a_url_is_refused_by_name(url: str) -> None:
    with pytest.raises((ImportRefused, ImportDisabled)):
        a_fetcher(names=Names([])).fetch(url)


# ── which addresses ──


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_refused_even_among_public_ones(address: str) -> None:
    for addresses in ([address], [PUBLIC, address], [address, PUBLIC_6]):
        network = Network()
        with pytest.raises(ImportRefused, match="public addresses"):
            a_fetcher(names=Names(addresses), network=network).fetch(URL)
        assert network.dialled == []


@pytest.mark.parametrize("address", [PUBLIC, PUBLIC_6, "1.1.1.1", "223.255.255.254", "2a00:1450:4001:81b::2004", "2001:4860:4860::8888"])
def test_an_address_of_the_public_internet_is_public(address: str) -> None:
    assert is_public(address)


@given(st.lists(st.ip_addresses(), min_size=1, max_size=4))
@settings(max_examples=200)
def test_no_address_that_is_not_global_is_ever_dialled(addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address]) -> None:
    network = Network()
    with pytest.raises(ImportRefused):
        a_fetcher(names=Names([str(address) for address in addresses]), network=network).fetch(URL)
    if any(not a.is_global or a.is_multicast or a.is_reserved or getattr(a, "ipv4_mapped", None) for a in addresses):
        assert network.dialled == []
    else:
        assert set(network.dialled) <= {str(address) for address in addresses}


def test_the_name_is_resolved_once_and_what_it_said_first_is_dialled(server: Server) -> None:
    names, network = Names([PUBLIC], ["127.0.0.1"]), Network(server)
    a_fetcher(names=names, network=network).fetch(URL)
    assert (names.asked, network.dialled) == ([HOST], [PUBLIC])


def test_nothing_else_is_resolved_on_the_way(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    genuine = socket.getaddrinfo

    def getaddrinfo(host: str, *rest: int) -> object:
        asked.append(host)
        return genuine(host, *rest)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    a_fetcher(server).fetch(URL)
    assert asked == ["127.0.0.1"]  # the test's own dialling


def test_the_next_address_is_dialled_where_one_does_not_answer_and_each_has_its_share_of_the_time(server: Server) -> None:
    network = Network(server, silent=2)
    fetcher = a_fetcher(names=Names(["1.1.1.1", PUBLIC_6, PUBLIC]), network=network, seconds=12, clock=lambda: 0.0)
    assert fetcher.fetch(URL).body == BODY
    assert network.dialled == ["1.1.1.1", PUBLIC_6, PUBLIC]
    assert network.shares == [4.0, 6.0, 12.0]


def test_a_name_that_does_not_exist_and_one_that_leads_inside_are_answered_alike() -> None:
    said = set()
    for answer in (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), ["10.0.0.1"], []):
        with pytest.raises(ImportRefused) as refused:
            a_fetcher(names=Names(answer)).fetch(URL)
        said.add(str(refused.value))
    (message,) = said
    assert not any(secret in message for secret in ("10.0.0.1", "s3cret", "not known"))


# ── hosts that mean harm ──


@pytest.mark.parametrize(
    "status", ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
)
def test_a_redirect_is_not_followed(server: Server, status: str) -> None:
    server.answer = sending(response(b"", "Location: https://169.254.169.254/latest/meta-data/?token=s3cret", status=status))
    with pytest.raises(ImportRefused, match="give the final URL") as refused:
        a_fetcher(server).fetch(URL)
    assert len(server.heads) == 1
    assert "s3cret" not in str(refused.value)
    assert "169.254" not in str(refused.value)


@pytest.mark.parametrize(("status", "told"), [("206 Partial Content", 206), ("403 Forbidden", 403), ("301 Moved Permanently", 301)])
def test_of_the_beginning_of_a_url_the_status_is_told_and_no_more_bytes_are_read_than_were_asked_for(
    server: Server, status: str, told: int
) -> None:
    server.answer = sending(response(BODY, "Location: https://169.254.169.254/", "Content-Type: image/png", status=status))
    assert a_fetcher(server).begin(URL, 16) == (told, BODY[:16], "image/png")
    assert len(server.heads) == 1
    assert "Range: bytes=0-15" in server.heads[0]


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.1", "::1"])
def test_the_beginning_of_a_url_that_leads_inside_is_never_asked_for(address: str) -> None:
    network = Network()
    with pytest.raises(ImportRefused, match="does not lead to public addresses"):
        a_fetcher(names=Names([PUBLIC, address]), network=network).begin(URL, 16)
    with pytest.raises(ImportDisabled):
        a_fetcher(hosts=("other.example.com",), network=network).begin(URL, 16)
    assert network.dialled == []


@pytest.mark.parametrize("status", ["204 No Content", "206 Partial Content", "401 Unauthorized", "404 Not Found", "500 Oops", "999 Odd"])
def test_an_answer_other_than_200_is_refused_with_its_status(server: Server, status: str) -> None:
    server.answer = sending(response(BODY, status=status))
    with pytest.raises(ImportRefused, match=rf"answered {status[:3]} "):
        a_fetcher(server).fetch(URL)


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", "x"])
def test_an_encoded_file_is_refused(server: Server, encoding: str) -> None:
    server.answer = sending(response(BODY, f"Content-Encoding: {encoding}"))
    with pytest.raises(ImportRefused, match="encoded"):
        a_fetcher(server).fetch(URL)


def test_a_length_over_the_limit_is_refused_before_a_byte_is_read(server: Server) -> None:
    gone = threading.Event()

    def answer(peer: ssl.SSLSocket) -> None:
        peer.sendall(response(b"", length=LIMIT + 1))
        peer.recv(1)  # returns when the fetcher has hung up
        gone.set()

    server.answer = answer
    with pytest.raises(TooLarge, match=str(LIMIT)):
        a_fetcher(server).fetch(URL)
    assert gone.wait(10)


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (response(b"", length=None), bytes(1000)),
        (response(b"", "Transfer-Encoding: chunked", length=None), b"3e8\r\n" + bytes(1000) + b"\r\n"),
        (response(b"", "Transfer-Encoding: chunked", length=None) + b"-1\r\n", bytes(1000)),
        (response(b"", "Content-Length: many", length=None), bytes(1000)),
    ],
    ids=["without a length", "in chunks", "in a chunk of less than nothing", "with a length that is no number"],
)
def test_a_file_that_does_not_end_is_given_up_at_the_limit(server: Server, head: bytes, part: bytes) -> None:
    sent = 0

    def answer(peer: ssl.SSLSocket) -> None:
        nonlocal sent
        peer.sendall(head)
        for _ in range(50_000):
            peer.sendall(part)
            sent += len(part)

    server.answer = answer
    with pytest.raises(TooLarge, match=str(LIMIT)):
        a_fetcher(server, seconds=30).fetch(URL)
    server.close()
    assert sent < 20_000_000  # what the sockets' own buffers hold, at most


@pytest.mark.parametrize(
    "answer",
    [
        sending(response(BODY[:-1], length=len(BODY))),
        sending(response(b"", length=len(BODY))),
        sending(response(BODY[:-1], length=len(BODY)), cut=True),
        sending(response(BODY, length=None), cut=True),
        sending(response(b"6400\r\n" + BODY[:-1], "Transfer-Encoding: chunked", length=None)),
        sending(response(b"6400\r\n" + BODY + b"\r\n", "Transfer-Encoding: chunked", length=None)),
    ],
    ids=["short", "empty", "short and cut", "cut where only the end could tell", "short chunk", "no last chunk"],
)
def test_half_a_file_is_no_file(server: Server, answer: Answer) -> None:
    server.answer = answer
    with pytest.raises(ImportRefused, match="nothing whole"):
        a_fetcher(server).fetch(URL)


def dripping(*parts: bytes) -> Iterator[bytes]:
    """Single bytes, for three seconds, in the place of dots."""
    for part in parts:
        yield from itertools.repeat(b".", 60) if part == b"..." else [part]


@pytest.mark.parametrize(
    "parts",
    [
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"...", b"\r\nContent-Length: 2\r\n\r\nok"),
        (response(b"", length=60), b"..."),
        (response(b"", length=None), b"..."),
        (response(b"", "Transfer-Encoding: chunked", length=None) + b"2;slow=", b"...", b"\r\nok\r\n0\r\n\r\n"),
        (response(b"", "Transfer-Encoding: chunked", length=None) + b"2\r\nok\r\n0\r\nX-Slow: ", b"...", b"\r\n\r\n"),
    ],
    ids=["in a header", "in the body", "in a body without a length", "in a chunk's size", "in a trailer"],
)
def test_a_host_that_drips_is_given_up_when_the_time_is_over(server: Server, parts: tuple[bytes, ...]) -> None:
    server.answer = sending(*dripping(*parts), every=0.05)
    with pytest.raises(ImportRefused, match=r"longer than 0\.5 seconds"):
        a_fetcher(server, seconds=0.5).fetch(URL)


def silent(peer: socket.socket) -> None:
    while peer.recv(4096):  # until the fetcher hangs up
        pass


def dripping_record(peer: socket.socket) -> None:
    peer.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")  # a handshake message of 16 KB begins
    for _ in range(60):
        peer.sendall(b".")
        time.sleep(0.05)


@pytest.mark.parametrize("greet", [silent, dripping_record])
def test_a_handshake_that_takes_too_long_is_given_up(greet: Callable[[socket.socket], None]) -> None:
    with contextlib.closing(Server(None)) as server:
        server.greet = greet
        with pytest.raises(ImportRefused, match=r"longer than 0\.5 seconds"):
            a_fetcher(server, seconds=0.5).fetch(URL)


@pytest.mark.parametrize("step", range(1, 5))
def test_the_time_counts_every_step(server: Server, step: int) -> None:
    looks = itertools.count()
    with pytest.raises(ImportRefused, match="longer than 5 seconds"):
        a_fetcher(server, seconds=5, clock=lambda: 5.0 if next(looks) >= step else 0.0).fetch(URL)


@pytest.mark.parametrize("fault", ["another name", "nobody we trust", "expired"])
def test_a_certificate_that_does_not_hold_is_refused_before_anything_is_asked(fault: str, issuer: Issuer, tmp_path: Path) -> None:
    context = {
        "another name": lambda: issuer.server("other.example.com"),
        "nobody we trust": lambda: Issuer(tmp_path, "stranger").server(HOST),
        "expired": lambda: issuer.server(HOST, issued=datetime.now(UTC) - timedelta(days=1)),
    }[fault]()
    with contextlib.closing(Server(context)) as server:
        with pytest.raises(ImportRefused, match="the certificate of images"):
            a_fetcher(server).fetch(URL)
        server.close()
        assert server.heads == []


def test_a_host_that_speaks_no_tls_is_refused() -> None:
    with contextlib.closing(Server(None)) as server:
        server.greet = lambda peer: peer.sendall(response())
        with pytest.raises(ImportRefused, match="over HTTPS"):
            a_fetcher(server).fetch(URL)


def test_a_host_that_cannot_be_reached_is_refused_without_saying_where_it_is() -> None:
    with pytest.raises(ImportRefused, match="over HTTPS") as refused:
        a_fetcher().fetch(URL)
    assert PUBLIC not in str(refused.value)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\r\n",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/3 200 OK\r\n\r\n",
        b"HTTP/1.1 200 " + b"a" * 70_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        response(b"zz\r\n", "Transfer-Encoding: chunked", length=None),
    ],
)
def test_an_answer_that_is_not_http_is_refused(server: Server, head: bytes) -> None:
    server.answer = sending(head)
    with pytest.raises(ImportRefused, match="over HTTPS"):
        a_fetcher(server).fetch(URL)


@given(
    st.lists(
        st.sampled_from([b"HTTP/1.1 200 OK", b"\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked", b"-5", b"1_0", b": ", b" x"])
        | st.binary(max_size=4)
    )
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_host_says_is_a_file_or_refused_by_name(server: Server, parts: list[bytes]) -> None:
    server.answer = sending(b"HTTP/1.1 200 OK\r\n" + b"".join(parts))
    with contextlib.suppress(ImportRefused, TooLarge):
        assert isinstance(a_fetcher(server).fetch(URL), Fetched)


def test_malformed_headers_do_not_put_the_url_into_the_logs(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.answer = sending(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nno header at all\r\n\r\nok")
    with contextlib.suppress(ImportRefused):
        a_fetcher(server).fetch(URL)
    assert "s3cret" not in caplog.text


# ── the ways out that are the fetcher's own ──


def test_all_addresses_of_a_name_are_asked_for_once_and_without_the_search_list(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **options: int) -> list[tuple[object, ...]]:
        asked.append(host)
        assert (port, options) == (443, {"type": socket.SOCK_STREAM})
        return [(0, 0, 0, "", (PUBLIC_6, 443, 0, 0)), (0, 0, 0, "", (PUBLIC, 443))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert addresses_of(HOST, 5) == [PUBLIC_6, PUBLIC]
    assert asked == [f"{HOST}."]


def test_a_name_without_addresses_is_an_error_of_the_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(socket.gaierror):
        addresses_of(HOST, 5)


def test_a_dns_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        over.wait(3)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(ImportRefused, match=r"longer than 0\.2 seconds"):
        Fetcher(hosts=("*",), max_bytes=1, seconds=0.2).fetch(URL)
    over.set()


def test_connections_go_to_port_443_of_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    dialled: list[object] = []
    monkeypatch.setattr(socket, "create_connection", lambda address, timeout: dialled.append((address, timeout)))
    importing.connect(PUBLIC, 3)
    assert dialled == [((PUBLIC, 443), 3)]

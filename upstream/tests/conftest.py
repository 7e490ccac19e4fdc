"""A scripted HTTP server on loopback that can misbehave at the level of the socket."""

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from upstream.client import Client, Timeouts

KEY = "canary+Key/0123456789&abc"
# A busy machine may keep a thread waiting for seconds: only a test that waits for a time-out has a
# short one, and of that kind alone.
PATIENT = Timeouts(connect=60, read=60, total=120)
READ_SOON = Timeouts(connect=60, read=0.3, total=120)
DONE_SOON = Timeouts(connect=60, read=60, total=2)


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, server: "ScriptedServer") -> None:
        self.sock = sock
        self.server = server

    def read_request(self) -> bytes:
        """Read one request to the end of its body; b"" when the client sends none."""
        received = b""
        while b"\r\n\r\n" not in received:
            chunk = self.sock.recv(65536)
            if not chunk:
                return received
            received += chunk
        head, _, body = received.partition(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        while len(body) < length:
            body += self.sock.recv(65536)
        self.server.requests.append(head + b"\r\n\r\n" + body)
        return head + b"\r\n\r\n" + body

    def send(self, raw: bytes) -> None:
        self.sock.sendall(raw)

    def drip(self, raw: bytes, every: float = 0.05) -> None:
        """Send byte after byte until all is sent, the client leaves or the test ends."""
        for byte in raw:
            if self.server.stopping.wait(every):
                return
            self.send(bytes([byte]))

    def hang(self) -> None:
        self.server.stopping.wait(60)

    def reset(self) -> None:
        """Close with RST in place of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Script = Callable[[Peer], None]


def reply(body: bytes | str, status: str = "200 OK", **headers: str) -> Script:
    """Script an honest answer; an underscore in a header's name is a hyphen."""
    raw = body.encode() if isinstance(body, str) else body

    def script(peer: Peer) -> None:
        peer.read_request()
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(raw)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        peer.send("\r\n".join(lines).encode() + b"\r\n\r\n" + raw)

    return script


def raw_reply(raw: bytes) -> Script:
    """Script an answer of exactly these bytes, and then the end of the connection."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(raw)

    return script


@dataclass
class ScriptedServer:
    """Runs one script per connection: the next of `scripts`, the last one for ever."""

    tls: ssl.SSLContext | None = None
    scripts: list[Script] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        scheme, host = ("https", "localhost") if self.tls else ("http", "127.0.0.1")
        return f"{scheme}://{host}:{self.port}/api/v2"

    def answer(self, *scripts: Script) -> None:
        self.scripts = list(scripts)

    def forms(self) -> list[dict[str, str]]:
        """Return the form of every request received so far."""
        bodies = [request.partition(b"\r\n\r\n")[2].decode() for request in self.requests]
        return [dict(parse_qsl(body, keep_blank_values=True)) for body in bodies]

    def close(self) -> None:
        self.stopping.set()
        # Closing a listener does not wake accept(); a connection does.
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            pass
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            if self.stopping.is_set():
                sock.close()
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        # The client's leaving is part of many scripts.
        with contextlib.suppress(OSError):
            sock.settimeout(60)
            if self.tls is not None:
                sock = self.tls.wrap_socket(sock, server_side=True)
            script(Peer(sock, self))
        sock.close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    running = ScriptedServer()
    yield running
    running.close()


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[Client]:
    with Client(url=server.url, key=KEY, allow_private=True, timeouts=PATIENT) as speaking:
        yield speaking


@pytest.fixture
def make_client(server: ScriptedServer) -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(**options: Any) -> Client:
        defaults = {"url": server.url, "key": KEY, "allow_private": True, "timeouts": PATIENT}
        made.append(Client(**{**defaults, **options}))
        return made[-1]

    yield make
    for each in made:
        each.close()


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate for localhost, and its key."""

    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def make_certificate(folder: Path, *names: x509.GeneralName) -> Certificate:
    """Write a self-signed certificate for these names, valid today."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "scripted provider")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(
        tmp_path_factory.mktemp("tls"),
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    )


@pytest.fixture
def tls_server(certificate: Certificate) -> Iterator[ScriptedServer]:
    running = ScriptedServer(tls=certificate.server_context())
    yield running
    running.close()

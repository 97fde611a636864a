"""A site of the internet on this machine: streamable.com with a certificate of a test's own authority, and what it was asked."""

from __future__ import annotations

import datetime
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOSTS = ("streamable.com", "ajax.streamable.com", "cdn.streamable.com")
#: What the name server of a test answers for HOSTS: public, and never connected to.
PUBLIC = "93.184.216.34"


class Site:
    """Answers of the site by path: (status, content type, body), or another address to go to; ``asked``: host and path of each request."""

    def __init__(self, port: int, authority: Path) -> None:
        self.port, self.authority = port, authority
        self.answers: dict[str, tuple[int, str, bytes]] = {}
        self.asked: list[str] = []
        self.addresses: dict[str, list[str]] = {}

    def clip(self, number: str, content: bytes, *, url: str = "", **facts: Any) -> str:
        """Put a clip on the site; the address of its page."""
        files = {"mp4": {"url": url or f"https://cdn.streamable.com/{number}.mp4", "width": 640, "height": 480}}
        about = {"status": 2, "title": "../../a <b>title</b>", "files": files} | facts
        self.answers[f"/videos/{number}"] = (200, "application/json", json.dumps(about).encode())
        self.answers[f"/{number}.mp4"] = (200, "video/mp4", content)
        return f"https://streamable.com/{number}"

    def resolve(self, host: str, port: int) -> list[str]:
        """The name server."""
        if host in self.addresses:
            return self.addresses[host]
        if host in HOSTS:
            return [PUBLIC]
        raise socket.gaierror(host)

    def connect(self, address: tuple[str, int], timeout: float) -> socket.socket:
        """The network: PUBLIC is this machine's server, everything else is what it is."""
        host, port = address
        return socket.create_connection(("127.0.0.1", self.port) if host == PUBLIC else (host, port), timeout)


@contextmanager
def streamable(folder: Path) -> Iterator[Site]:
    """The site, as long as the block runs."""
    authority, certificate = _certificates(folder)
    site: Site

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(f"{self.headers['Host']}{self.path}")
            status, kind, body = site.answers.get(self.path, (404, "text/plain", b""))
            self.send_response(status)
            self.send_header("Content-Type" if status < 300 or status >= 400 else "Location", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    site = Site(server.server_address[1], authority)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield site
    server.shutdown()
    server.server_close()
    thread.join(5)


def _certificates(folder: Path) -> tuple[Path, Path]:
    """A certificate authority, and the certificate and key of HOSTS that it signed, as PEM files."""
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]

    def signed(subject: x509.Name, key: Any, *extensions: tuple[x509.ExtensionType, bool]) -> x509.Certificate:
        draft = x509.CertificateBuilder().subject_name(subject).issuer_name(name).public_key(key.public_key())
        draft = draft.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        draft = draft.not_valid_after(now + datetime.timedelta(days=2))
        for extension, critical in extensions:
            draft = draft.add_extension(extension, critical=critical)
        return draft.sign(keys[0], hashes.SHA256())

    own = signed(
        name,
        keys[0],
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (x509.SubjectKeyIdentifier.from_public_key(keys[0].public_key()), False),
    )
    site = signed(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOSTS[0])]),
        keys[1],
        (x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), False),
    )
    pem = serialization.Encoding.PEM
    private = keys[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    authority, certificate = folder / "authority.pem", folder / "site.pem"
    authority.write_bytes(own.public_bytes(pem))
    authority.chmod(0o644)
    certificate.write_bytes(site.public_bytes(pem) + private)
    return authority, certificate

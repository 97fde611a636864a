"""Signs files with content credentials by a certificate authority of our own, and damages them."""

from __future__ import annotations

import datetime as dt
import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def _name(common: str, organisation: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
        ]
    )


class Authority:
    """A root that certifies signers; ``pem`` is its certificate."""

    def __init__(self, name: str = "Test root") -> None:
        self._key, self._subject = ec.generate_private_key(ec.SECP256R1()), _name(name, "Tests")
        self._now = dt.datetime.now(dt.UTC)
        builder = self._begun(self._subject, self._key.public_key(), days=(-3650, 3650))
        self._root = (
            builder.add_extension(x509.BasicConstraints(True, None), True)
            .add_extension(_usage(certifies=True), True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self._root.public_bytes(serialization.Encoding.PEM).decode()

    def _begun(self, subject: x509.Name, key: Any, *, days: tuple[float, float]) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key)
            .serial_number(2**150 + 7)  # of one length, so that one certificate can take another's place
            .not_valid_before(self._now + dt.timedelta(days=days[0]))
            .not_valid_after(self._now + dt.timedelta(days=days[1]))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
        )

    def certify(self, key: Any, *, days: tuple[float, float], signer: str) -> x509.Certificate:
        """A certificate for ``key``, valid in ``days`` from now."""
        return (
            self._begun(_name(signer, "Test maker"), key, days=days)
            .add_extension(x509.BasicConstraints(False, None), True)
            .add_extension(_usage(certifies=False), True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False)
            .sign(self._key, hashes.SHA256())
        )


def _usage(*, certifies: bool) -> x509.KeyUsage:
    return x509.KeyUsage(not certifies, False, False, False, False, certifies, certifies, False, False)


def sign(
    source: Path,
    target: Path,
    authority: Authority,
    *,
    source_type: str = "digitalCapture",
    signer: str = "Test camera",
    title: str = "A picture",
    days: tuple[float, float] | None = None,
    parent: tuple[Path, str] | None = None,
    remote: str | None = None,
    thumbnail: bytes | None = None,
) -> Path:
    """Write a signed copy. ``days``: the certificate that takes the valid one's place after the library has looked at that (its signature
    is right). ``parent``: a file it is made from, and its type. ``remote``: an address that takes the manifest's place. ``thumbnail``: of
    the manifest, of any size."""
    import c2pa

    key = ec.generate_private_key(ec.SECP256R1())
    valid = authority.certify(key.public_key(), days=(-10, 300), signer=signer)
    shown = _der(valid)
    kept = shown
    while days is not None and (
        kept is shown or len(kept) != len(shown)
    ):  # signatures differ in length by a byte or two
        kept = _der(authority.certify(key.public_key(), days=days, signer=signer))

    def by_key(data: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(data.replace(shown, kept), ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    chain = valid.public_bytes(serialization.Encoding.PEM).decode() + authority.pem
    actions = [{"action": "c2pa.created", "digitalSourceType": SOURCE + source_type, "softwareAgent": {"name": "Tool"}}]
    manifest: dict[str, Any] = {
        "claim_generator_info": [{"name": "Test program", "version": "1.0"}],
        "title": title,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}] if not parent else [],
    }
    if thumbnail:
        manifest["thumbnail"] = {"format": "image/jpeg", "identifier": "thumbnail"}
    context = c2pa.Context.from_dict(
        {"verify": {"verify_after_sign": False}, "builder": {"thumbnail": {"enabled": False}}}
    )
    builder = c2pa.Builder(manifest, context)
    if thumbnail:
        builder.add_resource("thumbnail", io.BytesIO(thumbnail))
    if parent:
        builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
        with parent[0].open("rb") as file:
            builder.add_ingredient({"title": parent[0].name, "relationship": "parentOf"}, parent[1], file)
        builder.add_action({"action": "c2pa.color_adjustments", "softwareAgent": {"name": "Editor"}})
    if remote:
        builder.set_no_embed()
        builder.set_remote_url(remote)
    builder.sign_file(
        str(source), str(target), c2pa.Signer.from_callback(by_key, c2pa.C2paSigningAlg.ES256, chain, None)
    )
    target.write_bytes(target.read_bytes().replace(shown, kept))
    return target


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def flipped(path: Path, target: Path, at: int) -> Path:
    """A copy with one bit of one byte changed."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    target.write_bytes(content)
    return target


def mutants(content: bytes, *, count: int, seed: int) -> Iterator[bytes]:
    """Copies with bytes exchanged, cut out, doubled or cut off, most of them near the manifest."""
    chance = random.Random(seed)
    begin = max(0, content.find(b"jumb") - 40)
    end = min(len(content), begin + 12_000)
    for _ in range(count):
        copy = bytearray(content)
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(begin, end) if chance.random() < 0.9 else chance.randrange(len(content))
            at = min(at, len(copy) - 1)
            how = chance.randrange(5)
            if how < 2:
                copy[at] = chance.choice((0, 0xFF, 0x7F, chance.randrange(256)))
            elif how == 2:
                del copy[at : at + chance.randint(1, 64)]
            elif how == 3:
                copy[at:at] = copy[at : at + chance.randint(1, 64)]
            else:
                copy[at : at + 4] = chance.randbytes(4)
        yield bytes(copy)

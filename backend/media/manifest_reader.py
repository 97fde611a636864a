"""Reads the content credentials (C2PA) of one file: ``python -m backend.media.manifest_reader FILE TYPE [ANCHORS]``.

A process of its own: the library is native code that meets hostile bytes, and a panic of it ends a process. Promises: it opens no
socket and no further file once it has begun to read (``confine``), whatever the manifest points to; memory and processor time are
limited; what it prints is one JSON object, ``shared.origin.Credentials``, in which every text is bounded. Started by
``backend.media.provenance``; not imported by other modules.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final
from urllib.parse import urlsplit

from shared.origin import MOST_CLAIMS, MOST_PARTS, Action, Claim, Credentials, Ingredient, State, cleaned

#: Private memory, and seconds of processor time. A manifest of 50 MB takes some 380 MB.
MEMORY_BYTES: Final = 1_200_000_000
CPU_S: Final = 60
#: The extended key usages that the C2PA specification allows for signers (2.2, 14.5.1.1): e-mail protection, document signing, and the
#: two of the C2PA itself.
_USAGES: Final = "1.3.6.1.5.5.7.3.4\n1.3.6.1.5.5.7.3.36\n1.3.6.1.4.1.62558.2.1\n1.3.6.1.4.1.62558.2.2"
_UNTRUSTED: Final = "signingCredential.untrusted"
#: How deep, and in how many members, a source type is searched.
_DEEPEST, _MOST_MEMBERS = 12, 20_000
#: Codes that are about the issuer of a named actor, which is not checked here.
_OF_ACTORS: Final = "cawg."


def confine() -> None:
    """From here on no file and no socket can be opened, memory and time are limited, and nothing can be written but the answer."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def credentials_of(stream: io.BufferedReader, kind: str, *, anchors: str | None) -> Credentials:
    """The credentials in ``stream`` of media type ``kind``. ``anchors``: PEM certificates that signers are compared with, None for none.

    Confines this process.
    """
    import c2pa  # type: ignore[import-untyped]

    settings: dict[str, Any] = {
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": anchors is not None},
        "core": {"allowed_network_hosts": []},
    }
    digest = None
    if anchors is not None:
        digest = hashlib.sha256(anchors.encode()).hexdigest()
        settings["trust"] = {"trust_anchors": anchors, "trust_config": _USAGES}
    try:
        context = c2pa.Context.from_dict(settings)
    except c2pa.C2paError:  # certificates that are none
        return Credentials("unreadable", code="bad_list")
    confine()
    try:
        with c2pa.Reader(kind, stream, context=context) as reader:
            overview, details = json.loads(reader.json()), json.loads(reader.crjson())
    except c2pa.C2paError as untrusted:
        return _without(str(untrusted))
    except (ValueError, RecursionError):
        return Credentials("unreadable", code="damaged")
    manifests = [item for item in details.get("manifests", ()) if isinstance(item, dict)]
    active = overview.get("active_manifest")
    manifests.sort(key=lambda item: item.get("label") != active)  # stable: the others keep their order
    times = overview.get("manifests", {})
    claims = [_claim(item, times.get(item.get("label"), {})) for item in manifests[:MOST_CLAIMS]]
    left_out = max(0, len(manifests) - MOST_CLAIMS)
    return Credentials(
        _state(overview, claims, listed=anchors is not None),
        claims=tuple(claims),
        left_out=left_out,
        list_sha256=digest,
    )


def _without(untrusted_message: str) -> Credentials:
    """What an error of the library means."""
    kind = untrusted_message.split(":")[0]
    if kind == "ManifestNotFound":
        return Credentials("none")
    if kind in ("Remote", "RemoteManifest"):
        found = re.search(r"https?://\S+", untrusted_message)
        try:
            host = urlsplit(found[0]).hostname if found else None
        except ValueError:
            host = None
        return Credentials("remote", host=cleaned(host, longest=100))
    return Credentials("unreadable", code="not_supported" if kind == "NotSupported" else "damaged")


def _state(overview: dict[str, Any], claims: list[Claim], *, listed: bool) -> State:
    if not claims:
        return "unreadable"
    failures = {code for code in claims[0].failures if not code.startswith(_OF_ACTORS)}
    untrusted_state = overview.get("validation_state")
    if failures - {_UNTRUSTED} or untrusted_state not in ("Valid", "Trusted"):
        return "invalid"
    if not listed:
        return "intact"
    return "listed" if untrusted_state == "Trusted" and not failures else "unlisted"


def _claim(untrusted: dict[str, Any], overview: dict[str, Any]) -> Claim:
    """One manifest of the library's crJSON; ``overview``: the same one in its plain JSON."""
    claim = _table(untrusted.get("claim.v2") or untrusted.get("claim"))
    signature = _table(untrusted.get("signature"))
    certificate = _table(signature.get("certificateInfo"))
    subject, issuer = _table(certificate.get("subject")), _table(certificate.get("issuer"))
    validity = _table(certificate.get("validity"))
    assertions = _table(untrusted.get("assertions"))
    failures = _list(_table(untrusted.get("validationResults")).get("failure"))
    return Claim(
        title=cleaned(claim.get("dc:title")),
        generator=_software(claim.get("claim_generator_info")) or cleaned(claim.get("claim_generator")),
        signer=cleaned(subject.get("CN")),
        organisation=cleaned(subject.get("O")),
        issuer=cleaned(issuer.get("O")) or cleaned(issuer.get("CN")),
        valid_from=cleaned(validity.get("notBefore"), longest=40),
        valid_until=cleaned(validity.get("notAfter"), longest=40),
        signed=cleaned(_table(_table(overview).get("signature_info")).get("time"), longest=40),
        actions=tuple(_actions(assertions))[:MOST_PARTS],
        ingredients=tuple(_ingredients(assertions))[:MOST_PARTS],
        sources=tuple(dict.fromkeys(_sources(assertions)))[:MOST_PARTS],
        failures=tuple(dict.fromkeys(_codes(failures)))[:MOST_PARTS],
        named_actor=any(name.startswith("cawg.identity") for name in assertions),
    )


def _actions(assertions: dict[str, Any]) -> Iterator[Action]:
    for name, content in assertions.items():
        if name.startswith("c2pa.actions"):
            for item in _list(_table(content).get("actions")):
                if (action := cleaned(_table(item).get("action"), longest=80)) is not None:
                    yield Action(
                        action,
                        software=_software(_table(item).get("softwareAgent")),
                        when=cleaned(_table(item).get("when"), longest=40),
                        source=_source(_table(item).get("digitalSourceType")),
                    )


def _ingredients(assertions: dict[str, Any]) -> Iterator[Ingredient]:
    for name, content in assertions.items():
        if name.startswith("c2pa.ingredient"):
            table = _table(content)
            manifest = table.get("activeManifest") or table.get("c2pa_manifest")
            yield Ingredient(
                cleaned(table.get("dc:title")), cleaned(table.get("relationship"), longest=40), bool(manifest)
            )


def _sources(assertions: dict[str, Any]) -> Iterator[str]:
    """Digital source types anywhere in the assertions: in actions, and in metadata of IPTC and CAWG."""
    waiting: list[tuple[Any, int]] = [(assertions, 0)]
    for _ in range(_MOST_MEMBERS):
        if not waiting:
            return
        value, depth = waiting.pop()
        if depth > _DEEPEST:
            continue
        if isinstance(value, dict):
            for name, member in value.items():
                if name.lower().endswith("digitalsourcetype") and (source := _source(member)):
                    yield source
                elif isinstance(member, dict | list):
                    waiting.append((member, depth + 1))
        elif isinstance(value, list):
            waiting += [(member, depth + 1) for member in value[:_MOST_MEMBERS] if isinstance(member, dict | list)]


def _source(untrusted: Any) -> str | None:
    """The last part of the address of a digital source type: ``trainedAlgorithmicMedia``."""
    text = cleaned(untrusted, longest=200)
    return re.sub(r"[^A-Za-z0-9]", "", text.rstrip("/").rsplit("/", 1)[-1])[:60] or None if text else None


def _software(untrusted: Any) -> str | None:
    if isinstance(untrusted, list):
        untrusted = untrusted[0] if untrusted else None
    if isinstance(untrusted, dict):
        parts = (cleaned(untrusted.get(name), longest=100) for name in ("name", "version"))
        return " ".join(part for part in parts if part) or None
    return cleaned(untrusted, longest=200)


def _codes(failures: list[Any]) -> Iterator[str]:
    for item in failures:
        code = cleaned(_table(item).get("code"), longest=80)
        if code is not None and re.fullmatch(r"[A-Za-z0-9_.]{1,80}", code):
            yield code


def _table(untrusted: Any) -> dict[str, Any]:
    return untrusted if isinstance(untrusted, dict) else {}


def _list(untrusted: Any) -> list[Any]:
    return untrusted if isinstance(untrusted, list) else []


def main(arguments: list[str]) -> int:
    """Print the credentials of a file."""
    path, kind, *rest = arguments
    anchors = None
    if rest:
        with open(rest[0], encoding="ascii", errors="replace") as file:
            anchors = file.read()
    with open(path, "rb") as stream:
        print(json.dumps(asdict(credentials_of(stream, kind, anchors=anchors))), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

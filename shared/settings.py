"""All settings, one frozen object per process, read once from the environment (``DFOM_*``) or a file.

Unknown ``DFOM_`` names fail, so a typing mistake is found at the start: a limit or a retention time that is silently not in force
is worse than a program that does not begin. Each wrong setting is named with what is wrong and a right example, all of them at once.
Secrets may come from files named in ``DFOM_SECRETS_DIR``. May be imported by all; nothing else reads ``os.environ``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from email.utils import parseaddr
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared import machine
from shared.errors import UserError
from shared.links import SITES
from shared.machine import default_budget_mb, default_jobs

#: Names that are not settings of the program: of its own start, of ``make images``, and of the tests.
OTHER_NAMES: Final = frozenset({"DFOM_SECRETS_DIR", "DFOM_BUILD_CA", "DFOM_CI"})

#: The longest time limit, a week, and the longest retention, a century: clocks overflow far beyond.
LONGEST_S: Final = 7 * 86_400
LONGEST_DAYS: Final = 36_500
#: A token that is shorter could be guessed.
SHORTEST_TOKEN: Final = 20

#: Ends every message about settings.
LISTED: Final = "'deepfake-o-meter settings' lists all settings."

#: How a list is written.
_LIKE: Final = 'like ["a", "b"]'


def _from_json(given: object) -> object:
    """A list as the environment has it; a value that is no text comes from a test or an option."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except ValueError:
        raise ValueError(f"is not a list {_LIKE}") from None


def _gpus(given: object) -> object:
    """A list of GPUs, or ``auto`` for all that this machine has."""
    return machine.gpus() if given == "auto" else _from_json(given)


Texts = Annotated[list[str], NoDecode, BeforeValidator(_from_json)]
Gpus = Annotated[list[str], NoDecode, BeforeValidator(_gpus)]
Port = Annotated[int, Field(ge=1, le=65_535)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=LONGEST_S, allow_inf_nan=False)]
Days = Annotated[float, Field(ge=0, le=LONGEST_DAYS, allow_inf_nan=False)]


class Settings(BaseSettings):
    """Settings of one process; the defaults suit one laptop."""

    model_config = SettingsConfigDict(
        env_prefix="DFOM_",
        env_ignore_empty=True,  # a line "DFOM_SMTP_HOST=" in a unit file means: none
        frozen=True,
        extra="forbid",
        secrets_dir=os.environ.get("DFOM_SECRETS_DIR"),
    )

    # where things are
    data: Path = Field(Path("var"), description="folder of everything that is stored")
    detectors: Path = Field(Path(__file__).resolve().parent.parent / "detectors", description="folder of the detectors")
    weights: Path | None = Field(
        None,
        description="folder of installed weights (default: DATA/weights)",
        examples=["/srv/deepfake-o-meter/weights"],
    )
    scratch: Path | None = Field(
        None,
        description="local scratch of the back-end (default: DATA/scratch)",
        examples=["/srv/deepfake-o-meter/scratch"],
    )

    # portal
    host: str = Field("127.0.0.1", description="address the portal listens on")
    port: Port = Field(8080, description="port of the portal")
    base_url: str | None = Field(
        None,
        description="public address used in mails (default: http://HOST:PORT)",
        examples=["https://dfom.example.org"],
    )
    max_upload_mb: Positive = Field(50, description="largest upload, MB (10^6 bytes)")
    portal_threads: Positive = Field(8, description="threads of the portal")
    secure_cookies: bool = Field(False, description="set behind HTTPS: cookies get Secure and the __Host- prefix")
    trusted_hosts: Texts = Field([], description="host names served (empty: any)", examples=[["dfom.example.org"]])
    trusted_proxies: Annotated[int, Field(ge=0)] = Field(
        0, description="number of reverse proxies in front (X-Forwarded-For hops)"
    )
    proxy_addresses: Texts = Field(
        ["127.0.0.0/8", "::1"],
        description="addresses or networks such a proxy connects from; of others the header is ignored",
    )
    session_minutes: Annotated[int, Field(ge=1, le=525_600)] = Field(
        30, description="how long a right PIN opens a result"
    )
    operator_token: SecretStr | None = Field(
        None,
        description="opens the operator's page /operator and /metrics; without it there is no such page (20 characters or more)",
        examples=["what-openssl-rand-hex-32-prints"],
    )
    metrics_for: Literal["token", "local"] = Field(
        "token",
        description="who may read /metrics: token (of the operator), or local (also any program of this machine; not behind a proxy on it)",
    )
    access_log: bool = Field(True, description="one line in the log for each request, without addresses")
    show_record: bool = Field(
        True, description="visitors see on /record how often detectors were wrong on files of this site"
    )
    seen_before: bool = Field(
        True, description="a result says when the same file, or one that looks or sounds alike, was judged on this site"
    )
    url_timeout_s: Seconds = Field(60, description="time limit of a download from a URL")
    url_allow_private: bool = Field(False, description="allow URLs on private addresses (for tests only)")
    link_sites: Texts = Field(
        ["all"],
        description="sites of whose pages clips are fetched, with a container engine (docs/links.md); an empty list: none",
        examples=[["youtube", "x"]],
    )
    link_timeout_s: Seconds = Field(600, description="time limit of fetching the clip of a page")

    # programs
    api_key_needed: bool = Field(
        False, description="programs need an API key to submit; else they may submit with a PIN, as visitors do"
    )
    api_origins: Texts = Field(
        [],
        description="web sites whose scripts may use the API with a key or PIN of their own (CORS; empty: none)",
        examples=[["https://newsroom.example.org"]],
    )

    # mail
    smtp_host: str | None = Field(
        None, description="mail server; without one, mails are written to DATA/outbox", examples=["mail.example.org"]
    )
    smtp_port: Port = Field(25, description="port of the mail server")
    smtp_user: str | None = Field(None, description="user name at the mail server", examples=["dfom"])
    smtp_password: SecretStr | None = Field(None, description="password at the mail server", examples=["..."])
    smtp_tls: Literal["none", "starttls", "tls"] = Field(
        "none", description="encryption towards the mail server: none, starttls or tls"
    )
    mail_from: str = Field("DeepFake-o-meter <no-reply@localhost>", description="sender of mails")

    # media limits
    max_duration_s: Seconds = Field(1800, description="longest clip")
    max_pixels: Positive = Field(8192 * 8192, description="most pixels of one picture")
    max_frames: Positive = Field(120_000, description="most frames decoded of one clip")
    max_pack_mb: Positive = Field(20_000, description="largest face pack on the local scratch, MB")
    media_timeout_s: Seconds = Field(1800, description="time limit of the media pass")

    # back-end
    runner: Literal["auto", "process", "docker"] = Field(
        "auto", description="how workers start: docker, process, or auto (docker where the image is built)"
    )
    image_prefix: str = Field("deepfake-o-meter", description="images are PREFIX/<detector>")
    jobs: Positive = Field(
        default_factory=default_jobs,
        description="jobs in work at once (default: one for each four cores whose workers fit into memory)",
        examples=[2],
    )
    scan_s: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = Field(
        2.0, description="seconds between two scans of the shared folder"
    )
    max_attempts: Positive = Field(3, description="how often a job is begun before it is given up")
    worker_memory_mb: Positive = Field(
        default_factory=default_budget_mb,
        description="memory budget of all warm workers, MB (default: two thirds of the memory, at least 6144)",
        examples=[6144],
    )
    warm_s: Annotated[float, Field(ge=0, le=LONGEST_S, allow_inf_nan=False)] = Field(
        600, description="how long an idle warm worker is kept"
    )
    hot: Texts = Field(["media"], description="workers kept always")
    cold: Texts = Field([], description="workers started for each job", examples=[["xception"]])
    detector_timeout_s: Seconds = Field(1800, description="upper time limit of one detector on one job")
    threads: Annotated[int, Field(ge=0)] = Field(
        0, description="CPU threads of a worker (0: the cores, shared out among the jobs)"
    )
    gpus: Gpus = Field(
        [], description="NVIDIA GPUs for detectors, by number or UUID; auto: all of this machine", examples=[["0"]]
    )

    media_gpu: bool = Field(
        False,
        description="find faces on a GPU too, in batches of pictures, where DFOM_GPUS names one (not tried on a card yet)",
    )

    # more than one machine
    engine: Literal["local", "ray"] = Field(
        "local", description="where jobs run: local (this machine), or ray (the machines of a Ray cluster)"
    )
    ray_address: str = Field("auto", description="HOST:PORT of the cluster's head; auto: the cluster of this machine")
    job_gpus: Annotated[float, Field(ge=0, le=8, allow_inf_nan=False)] = Field(
        0,
        description="GPUs, or the share of one, that a job on a cluster reserves (0: jobs go to machines without, too)",
    )

    # retention
    keep_media_days: Days = Field(7, description="days the submitted media is kept")
    keep_results_days: Days = Field(30, description="days a result is kept")
    keep_address_days: Days = Field(30, description="days a mail address is kept")

    @field_validator("proxy_addresses")
    @classmethod
    def _are_networks(cls, networks: list[str]) -> list[str]:
        try:
            return [str(ip_network(network)) for network in networks]
        except ValueError as error:
            raise ValueError(f"holds no address or network: {error}") from None

    @field_validator("link_sites")
    @classmethod
    def _are_sites(cls, names: list[str]) -> list[str]:
        if unknown := sorted(set(names) - {"all"} - SITES.keys()):
            raise ValueError(f"holds {', '.join(unknown)}, which is neither all nor a site of {', '.join(SITES)}")
        return names

    @field_validator("base_url")
    @classmethod
    def _is_web_address(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", url):
            raise ValueError("is not a web address that begins with https:// or http://")
        return url

    @field_validator("operator_token")
    @classmethod
    def _is_long(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and len(token.get_secret_value()) < SHORTEST_TOKEN:
            raise ValueError(f"is too short: it may not have fewer than {SHORTEST_TOKEN} characters")
        return token

    @field_validator("trusted_hosts")
    @classmethod
    def _are_hosts(cls, hosts: list[str]) -> list[str]:
        if any(not host or "/" in host or " " in host for host in hosts):
            raise ValueError("holds more than host names: write them without http:// and path")
        return hosts

    @field_validator("api_origins")
    @classmethod
    def _are_origins(cls, origins: list[str]) -> list[str]:
        if not all(re.fullmatch(r"https?://[^\s/?#@*]+", origin) for origin in origins):
            raise ValueError("holds no origin, which is a scheme and a host, without a path and *")
        return origins

    @field_validator("mail_from")
    @classmethod
    def _is_mailbox(cls, sender: str) -> str:
        if not re.fullmatch(r"[^@\s]+@[^@\s]+", parseaddr(sender)[1]):
            raise ValueError("has no e-mail address")
        return sender

    @field_validator("ray_address")
    @classmethod
    def _is_cluster(cls, address: str) -> str:
        # "local" and an empty one would start a cluster of its own, with open ports; ray:// is for clients outside the cluster
        if address != "auto" and not re.fullmatch(r"[A-Za-z0-9.-]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", address):
            raise ValueError("is neither auto nor the HOST:PORT of a cluster's head")
        return address

    @field_validator("smtp_host")
    @classmethod
    def _is_host(cls, host: str | None) -> str | None:
        if host and (re.search(r"[/\s]", host) or re.fullmatch(r"[^:]+:\d*", host)):
            raise ValueError("is not a host name; the port belongs into DFOM_SMTP_PORT")
        return host

    @field_validator("image_prefix")
    @classmethod
    def _is_image_name(cls, prefix: str) -> str:
        # the part of a name that the engine accepts (github.com/distribution/reference, "path-component", with a registry before it)
        if not re.fullmatch(r"[a-z0-9]+([._:/-]+[a-z0-9]+)*", prefix):
            raise ValueError("is not the name of an image: small letters, digits and - . _ / between them")
        return prefix

    @property
    def submissions(self) -> Path:
        """The shared folder the front-end writes."""
        return self.data / "submissions"

    @property
    def results(self) -> Path:
        """The shared folder the back-end writes."""
        return self.data / "results"

    @property
    def weights_folder(self) -> Path:
        """Installed weights, one folder per detector."""
        return self.weights or self.data / "weights"

    @property
    def references(self) -> Path:
        """The operator's own reference sets, one folder per detector; those we ship are beside the detectors."""
        return self.data / "references"

    @property
    def signers(self) -> Path:
        """Certificates (``*.pem``) that signers of content credentials are compared with."""
        return self.data / "signers"

    @property
    def scratch_folder(self) -> Path:
        """Local scratch of the back-end: face packs, exchange folders, logs of workers."""
        return self.scratch or self.data / "scratch"

    @property
    def backend_state(self) -> Path:
        """Local state of the back-end: cached scores, measured durations."""
        return self.data / "backend"

    @property
    def compiled_folder(self) -> Path:
        """Compiled networks, one folder per worker: made again when they are removed."""
        return self.backend_state / "compiled"

    @property
    def frontend_state(self) -> Path:
        """Local state of the front-end: pepper, PIN attempts, mail outbox."""
        return self.data / "frontend"

    @property
    def offered_sites(self) -> tuple[str, ...]:
        """Names of the sites (``shared.links``) of whose pages clips may be fetched."""
        return tuple(name for name in SITES if "all" in self.link_sites or name in self.link_sites)

    @property
    def public_url(self) -> str:
        """Address used in links, without trailing slash."""
        return (self.base_url or f"http://{self.host}:{self.port}").rstrip("/")


def example(name: str) -> str:
    """A right value of a setting, as a shell takes it."""
    field = Settings.model_fields[name]
    value = field.examples[0] if field.examples else field.default
    text = json.dumps(value) if isinstance(value, (list, bool)) else str(value)
    return text if re.fullmatch(r"[\w./:@+-]+", text) else f"'{text}'"


def read_settings(**overrides: object) -> Settings:
    """Build the settings of this process; UserError names each unknown or wrong ``DFOM_`` setting. ``overrides`` are options."""
    unknown = [_unknown(name) for name in _given_names() if name.upper() not in _names() | OTHER_NAMES]
    if unknown:
        raise UserError("unknown_setting", "\n".join([*unknown, LISTED]))
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        wrong = [_wrong(item, options=frozenset(overrides)) for item in error.errors()]
        raise UserError("bad_setting", "\n".join([*dict.fromkeys(wrong), LISTED])) from None
    except OSError as error:
        where = error.filename or os.environ.get("DFOM_SECRETS_DIR")
        raise UserError(
            "bad_setting", f"{where}, a file of DFOM_SECRETS_DIR, cannot be read ({error.strerror})."
        ) from None
    if not settings.detectors.is_dir():
        what = f"DFOM_DETECTORS is {str(settings.detectors)!r}, which is not a folder that can be read."
        raise UserError("bad_setting", f"{what} Right: DFOM_DETECTORS={example('detectors')}")
    return settings


#: pydantic's name of a mistake -> what is wrong with the value; in braces its own numbers.
_WRONG: Final = {
    "int_parsing": "is not a whole number",
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "int_parsing_size": "is too large a number",
    "float_parsing": "is not a number",
    "float_type": "is not a number",
    "finite_number": "is not a number",
    "bool_parsing": "is neither true nor false",
    "bool_type": "is neither true nor false",
    "list_type": f"is not a list {_LIKE}",
    "string_type": f"is not a text in quotes, {_LIKE}",
    "literal_error": "is not one of {expected}",
    "greater_than_equal": "is too small: it may not be less than {ge:g}",
    "greater_than": "is too small: it must be more than {gt:g}",
    "less_than_equal": "is too large: it may not be more than {le:g}",
}


def _names() -> frozenset[str]:
    return frozenset(f"DFOM_{name.upper()}" for name in Settings.model_fields)


def _given_names() -> list[str]:
    """Names that look like settings: variables, and files in the folder of secrets."""
    given = list(os.environ)
    folder = Settings.model_config.get("secrets_dir")
    if folder is not None:
        try:
            given += os.listdir(str(folder))
        except OSError as error:
            raise UserError(
                "bad_setting",
                f"DFOM_SECRETS_DIR names {folder}, which is no folder that can be read ({error.strerror}).",
            ) from None
    return [name for name in given if name.upper().startswith("DFOM_")]


def _unknown(name: str) -> str:
    near = get_close_matches(name.upper().removeprefix("DFOM_"), map(str.upper, Settings.model_fields), n=1, cutoff=0.7)
    return f"{name} is not a setting. Did you mean DFOM_{near[0]}?" if near else f"{name} is not a setting. Remove it."


def _wrong(item: Mapping[str, Any], *, options: frozenset[str]) -> str:
    """The sentence of one mistake: the variable, its value, what is wrong with it, and a right example."""
    name = str(item["loc"][0])
    variable, field = f"DFOM_{name.upper()}", Settings.model_fields.get(name)
    if field is None:
        return f"{variable} is not a setting."
    context: dict[str, Any] = item.get("ctx", {})
    what = str(context["error"]) if "error" in context else _WRONG.get(item["type"], "is wrong").format(**context)
    value = _shown(item["input"]) if field.annotation != SecretStr | None else "the secret"
    verb = "is" if len(item["loc"]) == 1 else "holds"
    given = f"The value given for {variable}, {value}," if name in options else f"{variable} {verb} {value}, which"
    return f"{given} {what}. Right: {variable}={example(name)} ({field.description})."


def _shown(given: object) -> str:
    text = given if isinstance(given, str) else json.dumps(given, default=str)
    return repr(text if len(text) <= 60 else text[:59] + "…")

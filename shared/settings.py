"""All settings, one frozen object per process, read once from the environment (``DFOM_*``) or a file.

Unknown ``DFOM_`` names fail, so a typing mistake is found at the start. Secrets may come from files named in
``DFOM_SECRETS_DIR``. May be imported by all; nothing else reads ``os.environ``.
"""

from __future__ import annotations

import os
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import UserError


class Settings(BaseSettings):
    """Settings of one process; the defaults suit one laptop."""

    model_config = SettingsConfigDict(
        env_prefix="DFOM_", frozen=True, extra="forbid", secrets_dir=os.environ.get("DFOM_SECRETS_DIR")
    )

    # where things are
    data: Path = Field(Path("var"), description="folder of everything that is stored")
    detectors: Path = Field(Path(__file__).resolve().parent.parent / "detectors", description="folder of the detectors")
    weights: Path | None = Field(None, description="folder of installed weights (default: DATA/weights)")
    scratch: Path | None = Field(None, description="local scratch of the back-end (default: DATA/scratch)")

    # portal
    host: str = Field("127.0.0.1", description="address the portal listens on")
    port: int = Field(8080, description="port of the portal")
    base_url: str | None = Field(None, description="public address used in mails (default: http://HOST:PORT)")
    max_upload_mb: int = Field(50, description="largest upload, MB (10^6 bytes)")
    portal_threads: int = Field(8, description="threads of the portal")
    secure_cookies: bool = Field(False, description="set behind HTTPS: cookies get Secure and the __Host- prefix")
    trusted_hosts: list[str] = Field([], description="host names served (empty: any)")
    trusted_proxies: int = Field(0, description="number of reverse proxies in front (X-Forwarded-For hops)")
    proxy_addresses: list[str] = Field(
        ["127.0.0.0/8", "::1"],
        description="addresses or networks such a proxy connects from; of others the header is ignored",
    )
    session_minutes: int = Field(30, description="how long a right PIN opens a result")
    url_timeout_s: float = Field(60, description="time limit of a download from a URL")
    url_allow_private: bool = Field(False, description="allow URLs on private addresses (for tests only)")

    # mail
    smtp_host: str | None = Field(None, description="mail server; without one, mails are written to DATA/outbox")
    smtp_port: int = Field(25, description="port of the mail server")
    smtp_user: str | None = Field(None, description="user name at the mail server")
    smtp_password: SecretStr | None = Field(None, description="password at the mail server")
    smtp_tls: Literal["none", "starttls", "tls"] = Field("none", description="encryption towards the mail server")
    mail_from: str = Field("DeepFake-o-meter <no-reply@localhost>", description="sender of mails")

    # media limits
    max_duration_s: float = Field(1800, description="longest clip")
    max_pixels: int = Field(8192 * 8192, description="most pixels of one picture")
    max_frames: int = Field(120_000, description="most frames decoded of one clip")
    max_pack_mb: int = Field(20_000, description="largest face pack on the local scratch, MB")
    media_timeout_s: float = Field(1800, description="time limit of the media pass")

    # back-end
    runner: Literal["auto", "process", "docker"] = Field("auto", description="how workers start")
    image_prefix: str = Field("deepfake-o-meter", description="images are PREFIX/<detector>")
    jobs: int = Field(1, description="jobs in work at once")
    scan_s: float = Field(2.0, description="seconds between two scans of the shared folder")
    max_attempts: int = Field(3, description="how often a job is begun before it is given up")
    worker_memory_mb: int = Field(6144, description="memory budget of all warm workers")
    warm_s: float = Field(600, description="how long an idle warm worker is kept")
    hot: list[str] = Field(["media"], description="workers kept always")
    cold: list[str] = Field([], description="workers started for each job")
    detector_timeout_s: float = Field(1800, description="upper time limit of one detector on one job")
    threads: int = Field(0, description="CPU threads of a worker (0: all cores)")
    gpus: list[str] = Field([], description="GPU ids for detector containers")

    # retention
    keep_media_days: float = Field(7, description="days the submitted media is kept")
    keep_results_days: float = Field(30, description="days a result is kept")
    keep_address_days: float = Field(30, description="days a mail address is kept")

    @field_validator("proxy_addresses")
    @classmethod
    def _are_networks(cls, networks: list[str]) -> list[str]:
        return [str(ip_network(network)) for network in networks]

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
    def scratch_folder(self) -> Path:
        """Local scratch of the back-end: face packs, exchange folders, logs of workers."""
        return self.scratch or self.data / "scratch"

    @property
    def backend_state(self) -> Path:
        """Local state of the back-end: cached scores, measured durations."""
        return self.data / "backend"

    @property
    def frontend_state(self) -> Path:
        """Local state of the front-end: pepper, PIN attempts, mail outbox."""
        return self.data / "frontend"

    @property
    def public_url(self) -> str:
        """Address used in links, without trailing slash."""
        return (self.base_url or f"http://{self.host}:{self.port}").rstrip("/")


def read_settings(**overrides: object) -> Settings:
    """Build the settings of this process; UserError names an unknown or wrong ``DFOM_`` setting."""
    known = {f"DFOM_{name.upper()}" for name in Settings.model_fields} | {"DFOM_SECRETS_DIR"}
    for name in os.environ:
        if name.startswith("DFOM_") and name not in known:
            raise UserError("unknown_setting", f"{name} is not a setting. docs/operator.md lists them.")
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValueError as error:
        raise UserError("bad_setting", f"A setting is wrong: {error}") from None

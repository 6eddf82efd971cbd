"""Every setting of the control plane, in one place.

Precedence: environment (``REMORA_…``) > ``REMORA_HOME/config.toml`` > default.
Durations are seconds, sizes are bytes. ``docs/reference/settings.md`` is generated from here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)


def default_home() -> Path:
    """The state folder: ``REMORA_HOME``, else ``~/.remora``."""
    return Path(os.environ.get("REMORA_HOME") or Path.home() / ".remora")


class Settings(BaseSettings):
    """Typed settings; ``Settings()`` reads environment, file and defaults."""

    model_config = SettingsConfigDict(env_prefix="REMORA_", extra="ignore", frozen=True)

    home: Path = Field(default_factory=default_home, description="State folder of this control plane.")

    # Addresses
    bind: str = Field("127.0.0.1", description="Address that `web` listens on.")
    port: int = Field(8765, description="Port of the dashboard and the API.", ge=1, le=65535)
    stream_port: int = Field(8766, description="Loopback port of the `stream` process; `web` proxies `/stream/` to it.")
    public_url: str = Field("", description="Address that people and workers use; default http://BIND:PORT.")
    tls_certificate: Path | None = Field(None, description="Certificate file; needed when `bind` is not the loopback.")
    tls_key: Path | None = Field(None, description="Private key of the certificate.")
    allow_plain_http: bool = Field(
        False,
        description="Say true to listen beyond the loopback without TLS (behind a proxy that ends TLS).",
    )
    trusted_proxies: int = Field(0, description="How many proxies in front may set X-Forwarded-For.", ge=0)
    allowed_hosts: str = Field(
        "", description="Further names, separated by commas, under which browsers and programs may reach this server."
    )
    web_threads: int = Field(8, description="Requests that one `web` process works on at once.", ge=1)
    web_streams: int = Field(
        256, description="Viewers of live logs that one `web` process passes on, beside its other requests.", ge=0
    )

    # Where things are
    database_url: SecretStr = Field(
        SecretStr(""), description="SQLAlchemy address of the database; default: SQLite in the state folder."
    )
    queue_url: SecretStr = Field(
        SecretStr(""),
        description="Redis of the workers' queue, as the master's user; default: written by the embedded Redis.",
    )
    chores: SecretStr = Field(
        SecretStr(""), description="Redis of the control plane's own chores, with users of its own."
    )

    # Addresses that users name
    allowed_networks: str = Field(
        "",
        description="Networks (CIDR, separated by commas) that are not public and that addresses of users (Git, web "
        "hooks, registries) may lead to all the same, for example `10.0.0.0/8`; `127.0.0.0/8` opens this machine.",
    )
    ca_bundle: Path | None = Field(
        None, description="Authorities (PEM) that such addresses are checked by; default: the machine's."
    )

    # Git
    git_wait: float = Field(
        10.0, description="A request waits this long for a fetch or a snapshot; then it goes on by itself.", ge=0
    )
    git_timeout: float = Field(1800.0, description="Longest run of one `git` command.", gt=0)
    git_repository_bytes: int = Field(5_000_000_000, description="Largest copy of a project's repository.", gt=0)
    git_commits: int = Field(1000, description="Newest commits of a repository that are listed.", ge=1, le=9000)

    # Private registries
    registry_timeout: float = Field(
        15.0, description="Longest wait for a registry's token, and for each step of a test of its credential.", gt=0
    )
    registry_token_margin: float = Field(
        600.0, description="A registry's token that ends sooner than this is not given to a worker any more.", ge=0
    )

    # Artifact stores
    store_timeout: float = Field(
        60.0, description="Longest that all of a store's answers to one question of a worker take.", gt=0
    )
    store_test_timeout: float = Field(
        30.0, description="Longest test of a store's connection, and longest look at a file that is adopted.", gt=0
    )
    store_list_timeout: float = Field(
        60.0, description="Longest that the lists for all wildcards of one execution take.", gt=0
    )

    # Life of an execution
    beat_interval: float = Field(10.0, description="How often a worker says that it lives.", gt=0)
    silent_after: float = Field(60.0, description="A worker is shown as silent after this.", gt=0)
    lost_after: float = Field(300.0, description="A silent worker's attempt is requeued after this.", gt=0)
    lease_ttl: float = Field(15.0, description="A loop's leader is replaced after this silence.", gt=0)
    dispatch_interval: float = Field(0.2, description="Longest pause between two passes of the dispatcher.", gt=0)
    grant_resend_after: float = Field(5.0, description="A grant is sent again after this until it is accepted.", gt=0)
    retry_pause: float = Field(5.0, description="Pause before an execution is tried again after a failure.", ge=0)
    max_attempts: int = Field(3, description="Attempts of one execution when infrastructure fails.", ge=1)
    stop_grace: float = Field(
        10.0, description="From SIGINT to SIGTERM, and from SIGTERM to SIGKILL, when stopping.", gt=0
    )

    # The control plane's own chores
    chores_interval: float = Field(1.0, description="Pause between two looks for chores that are due.", gt=0)
    chores_lost_after: float = Field(
        60.0,
        description="A chore that neither its queue nor a living process has had for this long is run again.",
        gt=0,
    )
    chores_limit: float = Field(3600.0, description="Longest run of one chore.", gt=0)
    chores_tries: int = Field(5, description="A chore that failed so often is given up.", ge=1)
    chores_retry_pause: float = Field(30.0, description="Pause before a failed chore's second try; it doubles.", ge=0)
    housekeeping_interval: float = Field(
        3600.0, description="How often sessions, tokens and keys that have expired are removed; 0: never.", ge=0
    )
    housekeeping_grace: float = Field(86400.0, description="They are kept for this long after they expired.", ge=0)
    retention_interval: float = Field(
        86400.0, description="How often what is older than its retention is removed; 0: never.", ge=0
    )
    retention_machine_events: float = Field(
        90 * 86400.0, description="Events of machines in the audit log are kept for this long.", gt=0
    )
    retention_chores: float = Field(30 * 86400.0, description="Chores that have ended are kept for this long.", gt=0)
    retention_outputs: float = Field(
        0.0, description="Bytes of outputs and uploads are purged when they are this old; 0: kept for ever.", ge=0
    )
    retention_logs: float = Field(
        0.0, description="Logs of executions that ended so long ago are removed; 0: kept for ever.", ge=0
    )
    retention_metadata: float = Field(
        0.0, description="Metadata points of executions that ended so long ago are removed; 0: kept for ever.", ge=0
    )
    retention_usage: float = Field(
        0.0, description="Utilisation of executions that ended so long ago is removed; 0: kept for ever.", ge=0
    )

    # The live log
    stream_ticket_ttl: int = Field(60, description="Life of a ticket for the live stream.")
    stream_watch_interval: float = Field(
        1.0, description="Pause between two looks of `stream` at the states of all executions that have viewers.", gt=0
    )
    stream_heartbeat: float = Field(15.0, description="A viewer to whom nothing was sent so long gets a comment.", gt=0)
    stream_gap_patience: float = Field(
        60.0, description="Lines that are missing in the live log are waited for so long; then a gap is shown.", gt=0
    )
    stream_stall_timeout: float = Field(60.0, description="A viewer that takes nothing for so long is closed.", gt=0)
    stream_longest: float = Field(
        900.0, description="A viewer comes again with a new ticket after this, so that a lost right ends.", gt=0
    )
    stream_viewers: int = Field(1000, description="Viewers of one `stream` process.", ge=1)
    stream_buffer_bytes: int = Field(
        4_194_304, description="Newest lines of an attempt that its viewers share; who falls further behind is closed."
    )
    stream_backlog_lines: int = Field(2000, description="Lines that a viewer without `Last-Event-ID` gets first.", ge=0)

    # Caps
    max_package_bytes: int = Field(1_000_000_000, description="Largest ad-hoc code archive.")
    max_yaml_bytes: int = Field(1_000_000, description="Largest valohai.yaml.")
    max_request_bytes: int = Field(2_000_000, description="Largest body of a request that is no upload.")
    max_queued_per_project: int = Field(10_000, description="Executions of a project that may wait at once.")
    limits: dict[str, int] = Field(
        {}, description='Other numbers for caps of docs/reference/limits.md, as JSON: `{"projects": 50}`.'
    )
    upload_ttl: float = Field(7 * 86400.0, description="An upload that is not completed for so long is aborted.", gt=0)
    upload_part_bytes: int = Field(
        64 << 20,
        description="Uploads to a folder store come in parts of this size; larger when there are too many.",
        ge=1,
    )
    signed_url_ttl: int = Field(900, description="Life of a signed URL.", ge=1)
    session_ttl: int = Field(30 * 86400, description="Life of a browser session.")
    login_attempts_per_minute: int = Field(10, description="Wrong passwords per account and address in a minute.")
    metadata_points_per_second: int = Field(50, description="Raw metadata points kept a second; beyond that sampled.")

    # The embedded form: everything on one machine
    embedded_worker: bool = Field(
        True, description="Also run executions on this machine; false where workers come with imported installations."
    )
    embedded_slots: int = Field(2, description="Executions that this machine runs at once.", ge=1)
    embedded_redis_bytes: int = Field(1_000_000_000, description="Memory of the embedded Redis.")
    start_timeout: float = Field(60.0, description="`remora server up` gives up after this.", gt=0)
    sample_timeout: float = Field(300.0, description="Longest run of each step of the sample project.", gt=0)
    drain_timeout: float = Field(20.0, description="A process that is asked to end is killed after this.", gt=0)
    restart_pause: float = Field(0.5, description="Pause before a crashed process starts again; it doubles.", gt=0)
    longest_restart_pause: float = Field(30.0, description="Longest pause between two starts.", gt=0)
    log_file_bytes: int = Field(10_000_000, description="A process's log file is rotated at this size.", gt=0)
    log_files: int = Field(3, description="Rotated log files kept of each process.", ge=1)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over the state folder's config.toml over defaults."""
        config = default_home() / "config.toml"
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=config)

    def model_post_init(self, context: Any) -> None:
        """Fill the addresses that follow from others."""
        if not self.public_url:
            scheme = "https" if self.tls_certificate else "http"
            object.__setattr__(self, "public_url", f"{scheme}://{self.bind}:{self.port}")
        if not self.database_url.get_secret_value():
            object.__setattr__(self, "database_url", SecretStr(f"sqlite:///{self.home / 'remora.db'}"))

    # Folders of REMORA_HOME, named once
    @property
    def keys_dir(self) -> Path:
        """Secret keys of this control plane (0700)."""
        return self.home / "keys"

    @property
    def stores_dir(self) -> Path:
        """Folder stores: code, releases, logs, data."""
        return self.home / "stores"

    @property
    def run_dir(self) -> Path:
        """Pid files and sockets."""
        return self.home / "run"

    @property
    def log_dir(self) -> Path:
        """Log files of the processes."""
        return self.home / "log"

    @property
    def access_file(self) -> Path:
        """Address and first login, for the person who ran `make up` (0600)."""
        return self.home / "access.json"

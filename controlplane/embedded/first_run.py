"""What one machine needs before its processes start; every step is skipped where it was done before."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

from sqlalchemy import func, select

from controlplane.accounts.models import User
from controlplane.accounts.service import AccountsService
from controlplane.clock import Clock, utc_now
from controlplane.db.migrate import upgrade
from controlplane.db.session import SYSTEM, Database, make_engine
from controlplane.embedded.access import Access, read_access, write_access
from controlplane.embedded.configfile import keep_values
from controlplane.embedded.errors import SetupError
from controlplane.embedded.files import kept_key, kept_secret, private_folder, write_private
from controlplane.embedded.ports import kept_port
from controlplane.embedded.redis import RedisAccess, password_file, prepare_redis
from controlplane.environments.importing import Importer
from controlplane.environments.opening import open_references
from controlplane.security.vault import Vault
from controlplane.settings import Settings
from infra.installation import GroupSpec, InstallationDocument, QueueSpec, StoreSpec
from worker_bootstrap.protocol import names

INSTALLATION = "embedded"
GROUP = "this-machine"
FIRST_USER = "admin"
PURPOSES = ("code", "releases", "logs", "data")
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
PROXY_NAMES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def prepare(settings: Settings, clock: Clock = utc_now) -> Settings:
    """Make the state folder whole, and return the settings as they are then. Only while nothing runs.

    Raises SetupError, ValidationError, OSError.
    """
    _check_environment()
    for folder in (settings.home, settings.keys_dir, settings.run_dir, settings.log_dir, settings.stores_dir):
        private_folder(folder)
    for purpose in PURPOSES:
        private_folder(settings.stores_dir / purpose)
    vault = Vault(kept_key(settings.keys_dir / "secret.key"))
    redis = prepare_redis(settings.home / "redis", settings.keys_dir, settings.embedded_redis_bytes)
    keep_values(settings.home / "config.toml", _generated(settings, redis))
    settings = Settings()  # pyright: ignore[reportCallIssue]
    engine = make_engine(settings.database_url.get_secret_value())
    upgrade(engine)
    db = Database(engine)
    _keep_login(settings, accounts(settings, db, clock), db)
    if settings.embedded_worker:
        with db.begin(SYSTEM) as session:
            Importer(vault, open_references(settings, clock), clock).run(session, document(settings, redis))
        _keep_agent(settings, redis)
    engine.dispose()
    return settings


def accounts(settings: Settings, db: Database, clock: Clock = utc_now) -> AccountsService:
    """The service of accounts, outside the web process."""
    return AccountsService(db, clock, settings.session_ttl, settings.login_attempts_per_minute)


def document(settings: Settings, redis: RedisAccess) -> InstallationDocument:
    """This machine as an installation: its Redis, folders, and one worker group."""
    return InstallationDocument(
        name=INSTALLATION,
        flavour="self_hosted",
        provider="embedded",
        queue=QueueSpec(url=redis.url, password=f"file:{password_file(settings.keys_dir, names.MASTER_USER)}"),
        stores=[
            StoreSpec(name=purpose, purpose=purpose, kind="folder", location=str(settings.stores_dir / purpose))
            for purpose in PURPOSES
        ],
        groups=[
            GroupSpec(
                slug=GROUP,
                name="This machine",
                description=f"Containers on {platform.node()}, {os.cpu_count() or 1} CPUs.",
                price=None,
                currency="USD",
                scale_min=1,
                scale_max=1,
                join_secret=f"file:{_join_secret(settings)}",
                settings={"ca_bundle": CA_BUNDLE.exists(), "proxy": _proxy(dict(os.environ))},
            )
        ],
    )


def _check_environment() -> None:
    for name in ("REMORA_QUEUE_URL", "REMORA_CHORES"):
        if os.environ.get(name):
            raise SetupError(f"`remora server up` starts a Redis of its own: unset {name}.")


def _generated(settings: Settings, redis: RedisAccess) -> dict[str, str | int]:
    return {
        "queue_url": redis.url_of(names.MASTER_USER, redis.master),
        "chores": redis.url_of("chores", redis.chores),
        "stream_port": kept_port(settings.run_dir / "stream.port"),
    }


def _keep_login(settings: Settings, service: AccountsService, db: Database) -> None:
    known = read_access(settings.access_file)
    if known is not None:
        if known.url != settings.public_url:
            write_access(settings.access_file, Access(settings.public_url, known.user, known.password, known.token))
        return
    with db.read(SYSTEM) as session:
        if session.scalar(select(func.count()).select_from(User)):
            raise SetupError(
                f"{settings.access_file} is gone while users exist: run `remora server reset-password NAME`, "
                "which writes it again."
            )
    user_id, password = service.create_user(FIRST_USER, is_operator=True)
    token = service.create_token(user_id, "first run")
    write_access(settings.access_file, Access(settings.public_url, FIRST_USER, password, token))


def _join_secret(settings: Settings) -> Path:
    path = settings.keys_dir / "join.secret"
    kept_secret(path)
    return path


def _keep_agent(settings: Settings, redis: RedisAccess) -> None:
    """Write agent.json; what a person added to it (mounts, slots) stays."""
    home = private_folder(settings.home / "agent")
    path = home / "agent.json"
    known = json.loads(path.read_text()) if path.exists() else {"slots": settings.embedded_slots}
    generated = {
        "queue_url": redis.url,
        "join_password": redis.join,
        "join_secret": _join_secret(settings).read_text(),
        "group": GROUP,
        "name": platform.node(),
        "beat_interval": settings.beat_interval,
        "resend_after": settings.grant_resend_after,
        # The one group whose agent may run without root; page and doctor say what stays reachable.
        "allow_without_firewall": True,
    }
    write_private(path, json.dumps({**known, **generated}, indent=2))


def _proxy(environment: dict[str, str]) -> dict[str, str]:
    return {name: environment[name] for name in PROXY_NAMES if environment.get(name)}

"""The services of the web process, made once."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.accounts.links import LoginLinks
from controlplane.accounts.service import AccountsService
from controlplane.accounts.teams import TeamsService
from controlplane.audit.service import AuditService
from controlplane.chores.registry import KINDS
from controlplane.chores.service import ChoreService
from controlplane.clock import Clock, utc_now
from controlplane.commits.service import CommitsService
from controlplane.data.aliases import AliasesService
from controlplane.data.service import DataService
from controlplane.data.stores.opening import StoreOpener
from controlplane.data.stores.registry import StoreRegistry
from controlplane.data.uploads import UploadsService
from controlplane.db.session import Database, make_engine
from controlplane.dispatch.queue import QueueProvider
from controlplane.environments.opening import open_references
from controlplane.executions.comments import CommentsService
from controlplane.executions.service import ExecutionsService
from controlplane.git.preparing import Preparing
from controlplane.git.service import RepositoriesService
from controlplane.limits import Limits
from controlplane.logs.service import LogReader
from controlplane.projects.service import ProjectsService
from controlplane.registries.service import RegistriesService
from controlplane.registries.trials import Trials
from controlplane.security.vault import Vault
from controlplane.settings import Settings
from controlplane.stores.inputs import Listings
from controlplane.stores.service import StoresService
from controlplane.stream.passing import Passing
from controlplane.stream.tickets import Tickets
from controlplane.variables.service import VariablesService


@dataclass(frozen=True)
class Services:
    """What views may use."""

    settings: Settings
    db: Database
    clock: Clock
    vault: Vault
    secret: bytes
    audit: AuditService
    accounts: AccountsService
    login_links: LoginLinks
    projects: ProjectsService
    commits: CommitsService
    executions: ExecutionsService
    comments: CommentsService
    variables: VariablesService
    registries: RegistriesService
    trials: Trials
    stores: StoreRegistry
    opener: StoreOpener
    listings: Listings
    added_stores: StoresService
    repositories: RepositoriesService
    preparing: Preparing
    logs: LogReader
    data: DataService
    aliases: AliasesService
    uploads: UploadsService
    teams: TeamsService
    tickets: Tickets
    streams: Passing


def build_services(settings: Settings, clock: Clock = utc_now) -> Services:
    """Every service, wired. Raises VaultError when the secret key is missing or weak."""
    secret = (settings.keys_dir / "secret.key").read_bytes()
    vault = Vault(secret)
    db = Database(make_engine(settings.database_url.get_secret_value()))
    opener = StoreOpener(settings, secret, clock)
    stores = StoreRegistry(opener.open)
    queues = QueueProvider(settings.queue_url.get_secret_value(), open_references(settings, clock))
    audit = AuditService(clock)
    limits = Limits(settings.limits)
    chores = ChoreService(KINDS)
    repositories = RepositoriesService(clock, vault, chores, audit, settings.public_url)
    return Services(
        settings=settings,
        audit=audit,
        db=db,
        clock=clock,
        vault=vault,
        secret=secret,
        accounts=AccountsService(db, clock, settings.session_ttl, settings.login_attempts_per_minute, audit, limits),
        login_links=LoginLinks(db, clock, audit),
        projects=ProjectsService(clock, vault, settings.public_url, repositories, audit, limits),
        commits=CommitsService(db, clock, stores, settings),
        executions=ExecutionsService(clock, vault, settings),
        comments=CommentsService(clock, limits),
        variables=VariablesService(clock, vault, audit, limits),
        registries=RegistriesService(clock, vault, audit, limits),
        trials=Trials(settings, clock),
        stores=stores,
        opener=opener,
        listings=Listings(stores, settings.store_list_timeout),
        added_stores=StoresService(opener, settings.public_url, clock, audit, limits),
        repositories=repositories,
        preparing=Preparing(db, chores, settings),
        logs=LogReader(stores, queues),
        data=DataService(stores, settings.public_url, clock, audit, limits),
        aliases=AliasesService(clock, audit, limits),
        uploads=UploadsService(stores, clock, audit, limits, chores, settings.upload_ttl, settings.upload_part_bytes),
        teams=TeamsService(audit, limits),
        tickets=Tickets(secret, settings.stream_ticket_ttl, clock),
        streams=Passing(settings.stream_port, settings.web_streams, 3 * settings.stream_heartbeat),
    )

"""The control plane's database: a PostgreSQL of RDS whose password AWS makes, keeps and changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.aws.account import Account
from infra.aws.component import AwsComponent
from infra.aws.firewall import DATABASE_PORT
from infra.names import Labels

VERSION = "16"
NAME = "remora"


@dataclass(frozen=True)
class DatabaseWish:
    """`backup_days`: it can be set back to any moment of so many days. `two_zones`: a standby in a second zone."""

    machine_type: str
    storage_gb: int
    backup_days: int
    two_zones: bool
    subnet_ids: Sequence[pulumi.Input[str]]
    security_group: pulumi.Input[str]
    key_arn: pulumi.Input[str]


class Database(AwsComponent):
    """It holds data: destroy leaves it, and whoever removes it by hand is asked by AWS for a last snapshot.

    Outputs: `address` (host), `port`, `name`, `secret` (ARN of user and password, which Pulumi never sees).
    """

    def __init__(self, account: Account, labels: Labels, wish: DatabaseWish) -> None:
        super().__init__("Database", "database", account, labels)
        database = self._database(wish)
        self.port, self.name = DATABASE_PORT, NAME
        self.address: pulumi.Output[str] = database.address
        self.secret: pulumi.Output[str] = database.master_user_secrets.apply(
            lambda found: (found[0].secret_arn if found else None) or ""
        )
        self.register_outputs({"address": self.address, "secret": self.secret})

    def _database(self, wish: DatabaseWish) -> aws.rds.Instance:
        subnets = aws.rds.SubnetGroup(
            self._labels.name("database"), subnet_ids=list(wish.subnet_ids), opts=self._child()
        )
        return aws.rds.Instance(
            self._labels.name("database"),
            identifier_prefix=f"{self._labels.name('database')}-",
            engine="postgres",
            engine_version=VERSION,
            auto_minor_version_upgrade=True,
            instance_class=wish.machine_type,
            db_name=NAME,
            username=NAME,
            port=DATABASE_PORT,
            manage_master_user_password=True,
            master_user_secret_kms_key_id=wish.key_arn,
            allocated_storage=wish.storage_gb,
            storage_type="gp3",
            storage_encrypted=True,
            kms_key_id=wish.key_arn,
            multi_az=wish.two_zones,
            db_subnet_group_name=subnets.name,
            vpc_security_group_ids=[wish.security_group],
            publicly_accessible=False,
            parameter_group_name=self._parameters().name,
            backup_retention_period=wish.backup_days,
            copy_tags_to_snapshot=True,
            delete_automated_backups=False,
            deletion_protection=True,
            skip_final_snapshot=False,
            # The subnets' group has letters of its own in its name: two snapshots never collide.
            final_snapshot_identifier=subnets.name.apply(lambda name: f"{name}-final"),
            opts=self._child(keep=True),
        )

    def _parameters(self) -> aws.rds.ParameterGroup:
        return aws.rds.ParameterGroup(
            self._labels.name("database"),
            family=f"postgres{VERSION}",
            description="Remora: connections without TLS are refused",
            parameters=[{"name": "rds.force_ssl", "value": "1"}],
            opts=self._child(),
        )

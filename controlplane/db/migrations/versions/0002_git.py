"""Git repositories"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.Uuid(as_uuid=False)
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("commit", sa.Column("author", sa.String(255), nullable=False, server_default=""))
    op.add_column("commit", sa.Column("listed", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.create_index("ix_commit_time", "commit", ["project_id", "commit_time"])
    op.create_table(
        "repository",
        sa.Column("id", ID, nullable=False),
        _reference("repository", "organization_id", "organization"),
        _reference("repository", "project_id", "project"),
        sa.Column("url", sa.String(2048), nullable=False),
        sa.Column("ref", sa.String(255), nullable=False),
        sa.Column("username", sa.String(128), nullable=False),
        sa.Column("auth", sa.String(8), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("host_key", sa.Text(), nullable=False),
        sa.Column("offered_host_key", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("fetch_chore_id", ID, nullable=True),
        sa.Column("fetch_reason", sa.String(32), nullable=False),
        sa.Column("fetch_error", sa.Text(), nullable=False),
        sa.Column("fetched_at", MOMENT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_repository"),
        sa.UniqueConstraint("project_id", name="uq_repository_project_id"),
    )
    op.create_index("ix_repository_organization_id", "repository", ["organization_id"])
    op.create_table(
        "repository_ref",
        sa.Column("id", ID, nullable=False),
        _reference("repository_ref", "organization_id", "organization"),
        _reference("repository_ref", "repository_id", "repository"),
        _reference("repository_ref", "project_id", "project"),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("identifier", sa.String(80), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_repository_ref"),
        sa.UniqueConstraint("repository_id", "kind", "name", name="uq_repository_ref_repository_id"),
    )
    for column in ("organization_id", "project_id"):
        op.create_index(f"ix_repository_ref_{column}", "repository_ref", [column])


def downgrade() -> None:
    op.drop_table("repository_ref")
    op.drop_table("repository")
    op.drop_index("ix_commit_time", "commit")
    with op.batch_alter_table("commit") as batch:
        batch.drop_column("listed")
        batch.drop_column("author")


def _reference(table: str, column: str, other: str) -> sa.Column:
    return sa.Column(column, ID, sa.ForeignKey(f"{other}.id", name=f"fk_{table}_{column}_{other}"), nullable=False)

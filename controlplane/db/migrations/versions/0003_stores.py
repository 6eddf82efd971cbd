"""Stores of organisations and projects, with access and secrets; a project's default store"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.Uuid(as_uuid=False)
NEW = (
    ("organization_id", sa.Column("organization_id", ID, nullable=True)),
    ("project_id", sa.Column("project_id", ID, nullable=True)),
    ("access", sa.Column("access", sa.String(32), nullable=False, server_default="owner_organization")),
    ("allow_read", sa.Column("allow_read", sa.Boolean(), nullable=False, server_default=sa.true())),
    ("allow_write", sa.Column("allow_write", sa.Boolean(), nullable=False, server_default=sa.true())),
    ("secrets", sa.Column("secrets", sa.Text(), nullable=False, server_default="")),
    ("creator_id", sa.Column("creator_id", ID, nullable=True)),
)


def upgrade() -> None:
    with op.batch_alter_table("store") as store:
        store.alter_column("installation_id", existing_type=ID, nullable=True)
        for _, column in NEW:
            store.add_column(column)
        store.create_foreign_key("fk_store_organization_id_organization", "organization", ["organization_id"], ["id"])
        store.create_foreign_key("fk_store_project_id_project", "project", ["project_id"], ["id"])
        store.create_unique_constraint("uq_store_organization_id", ["organization_id", "name"])
    op.add_column("project", sa.Column("default_store_id", ID, nullable=True))
    op.create_table(
        "store_team",
        sa.Column("id", ID, nullable=False),
        sa.Column("store_id", ID, sa.ForeignKey("store.id", name="fk_store_team_store_id_store"), nullable=False),
        sa.Column("team_id", ID, sa.ForeignKey("team.id", name="fk_store_team_team_id_team"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_store_team"),
        sa.UniqueConstraint("store_id", "team_id", name="uq_store_team_store_id"),
    )
    op.create_index("ix_store_team_team_id", "store_team", ["team_id"])


def downgrade() -> None:
    """Stores of organisations have no place in the former schema: with any of them left, this fails."""
    op.drop_table("store_team")
    op.drop_column("project", "default_store_id")
    with op.batch_alter_table("store") as store:
        store.drop_constraint("uq_store_organization_id", type_="unique")
        store.drop_constraint("fk_store_project_id_project", type_="foreignkey")
        store.drop_constraint("fk_store_organization_id_organization", type_="foreignkey")
        for name, _ in NEW:
            store.drop_column(name)
        store.alter_column("installation_id", existing_type=ID, nullable=False)

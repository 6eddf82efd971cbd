"""Registries"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ID = sa.Uuid(as_uuid=False)
TABLE = "registry_credential"


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("id", ID, nullable=False),
        sa.Column("organization_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=True),
        sa.Column("type", sa.String(16), nullable=False),
        sa.Column("image_pattern", sa.String(255), nullable=False),
        sa.Column("configuration", sa.JSON(), nullable=False),
        sa.Column("secrets", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=f"pk_{TABLE}"),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organization.id"], name=f"fk_{TABLE}_organization_id_organization"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=f"fk_{TABLE}_project_id_project"),
    )
    op.create_index(f"ix_{TABLE}_organization_id", TABLE, ["organization_id"])
    op.create_index(f"ix_{TABLE}_project_id", TABLE, ["project_id"])


def downgrade() -> None:
    op.drop_table(TABLE)

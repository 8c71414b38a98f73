"""Adds what roles keep between two lives, who holds a role, and an index for the search on PostgreSQL."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from coldaisle.store.postgres import make_search_fast

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "role_state",
        sa.Column("role", sa.Text, primary_key=True),
        sa.Column("part", sa.Text, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "role_leases",
        sa.Column("role", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("held_until", sa.BigInteger, nullable=False),
        sa.Column("term", sa.BigInteger, nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        make_search_fast(op.get_bind())


def downgrade() -> None:
    """Refuse: a backup is the way back."""
    raise NotImplementedError("the incident store does not go back: restore the backup made before the upgrade")

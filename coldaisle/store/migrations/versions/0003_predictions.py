"""Adds predictions and what became of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "predictions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("entity", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("made_at", sa.BigInteger, nullable=False),
        sa.Column("warned_at", sa.BigInteger),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("predictions_by_outcome", "predictions", ["outcome", "made_at"])
    op.create_index("predictions_by_entity", "predictions", ["entity", "made_at"])


def downgrade() -> None:
    """Refuse: a backup is the way back."""
    raise NotImplementedError("the incident store does not go back: restore the backup made before the upgrade")

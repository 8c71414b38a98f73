"""Lays the first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "incidents",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("suspect", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("explanation", sa.Text, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("over_at", sa.BigInteger),
        sa.Column("timeline_length", sa.Integer, nullable=False),
    )
    listed = ["opened_at", "id", "severity", "started_at", "over_at"]
    op.create_index(
        "incidents_by_opened", "incidents", ["opened_at", "id", "state", "severity", "started_at", "over_at"]
    )
    op.create_index("incidents_by_state", "incidents", ["state", *listed])
    op.create_table("incident_documents", _incident(), sa.Column("document", sa.Text, nullable=False))
    op.create_table(
        "incident_evidence",
        _incident(),
        sa.Column("anomaly_id", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "incident_entities",
        sa.Column("entity", sa.Text, primary_key=True),
        _incident(),
        sa.Column("name", sa.Text, nullable=False),
    )
    op.create_index("incident_entities_by_name", "incident_entities", ["name", "incident_number"])
    op.create_index("incident_entities_by_incident", "incident_entities", ["incident_number", "entity"])
    if op.get_bind().dialect.name == "sqlite":
        op.execute("CREATE VIRTUAL TABLE incident_search USING fts5(text, tokenize = 'trigram')")
    else:
        op.create_table("incident_search", _incident("rowid"), sa.Column("text", sa.Text, nullable=False))
    _outbox()
    op.create_table(
        "silences",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("starts_at", sa.BigInteger, nullable=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("silences_by_end", "silences", ["ends_at"])
    op.create_table(
        "audit",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_index("audit_by_subject", "audit", ["subject", "number"])


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("incident_id", sa.Text, nullable=False),
        sa.Column("receiver", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", sa.BigInteger, nullable=False),
        sa.Column("leased_until", sa.BigInteger, nullable=False),
        sa.Column("last_error", sa.Text, nullable=False),
        sa.Column("sent_at", sa.BigInteger),
    )
    op.create_index("outbox_by_state", "outbox", ["state", "number", "next_attempt_at", "leased_until"])
    op.create_index("outbox_by_incident", "outbox", ["incident_id", "receiver", "state", "number"])


def _incident(name: str = "incident_number") -> sa.Column[int]:
    return sa.Column(name, NUMBER, sa.ForeignKey("incidents.number", ondelete="CASCADE"), primary_key=True)


def downgrade() -> None:
    """Refuse: a backup is the way back."""
    raise NotImplementedError("the incident store does not go back: restore the backup made before the upgrade")

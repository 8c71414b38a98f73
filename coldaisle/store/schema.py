"""The tables of the incident store, as the newest migration leaves them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, MetaData, Table, Text

NUMBER = BigInteger().with_variant(Integer, "sqlite")  # SQLite's own row number must be called INTEGER

METADATA = MetaData()

INCIDENTS = Table(
    "incidents",
    METADATA,
    Column("number", NUMBER, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("suspect", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("explanation", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("over_at", BigInteger),  # ended or resolved; null while it lasts
    Column("timeline_length", Integer, nullable=False),
    # Every filter but entity and text is answered by this index alone, in the order of the list.
    Index("incidents_by_opened", "opened_at", "id", "state", "severity", "started_at", "over_at"),
    Index("incidents_by_state", "state", "opened_at", "id", "severity", "started_at", "over_at"),
)

DOCUMENTS = Table(  # apart, so that a scan of incidents never reads them
    "incident_documents",
    METADATA,
    Column("incident_number", NUMBER, ForeignKey("incidents.number", ondelete="CASCADE"), primary_key=True),
    Column("document", Text, nullable=False),
)

EVIDENCE = Table(
    "incident_evidence",
    METADATA,
    Column("incident_number", NUMBER, ForeignKey("incidents.number", ondelete="CASCADE"), primary_key=True),
    Column("anomaly_id", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("document", Text, nullable=False),
)

ENTITIES = Table(
    "incident_entities",
    METADATA,
    Column("entity", Text, primary_key=True),
    Column("incident_number", NUMBER, ForeignKey("incidents.number", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, nullable=False),
    Index("incident_entities_by_name", "name", "incident_number"),
    Index("incident_entities_by_incident", "incident_number", "entity"),
)

OUTBOX = Table(
    "outbox",
    METADATA,
    Column("number", NUMBER, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("incident_id", Text, nullable=False),
    Column("receiver", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", BigInteger, nullable=False),
    Column("leased_until", BigInteger, nullable=False),
    Column("last_error", Text, nullable=False),
    Column("sent_at", BigInteger),
    Index("outbox_by_state", "state", "number", "next_attempt_at", "leased_until"),
    Index("outbox_by_incident", "incident_id", "receiver", "state", "number"),
)

SILENCES = Table(
    "silences",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("starts_at", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Index("silences_by_end", "ends_at"),
)

AUDIT = Table(
    "audit",
    METADATA,
    Column("number", NUMBER, primary_key=True),
    Column("timestamp", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("text", Text, nullable=False),
    Index("audit_by_subject", "subject", "number"),
)

ROLE_STATE = Table(
    "role_state",
    METADATA,
    Column("role", Text, primary_key=True),
    Column("part", Text, primary_key=True),
    Column("document", Text, nullable=False),
)

ROLE_LEASES = Table(
    "role_leases",
    METADATA,
    Column("role", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("held_until", BigInteger, nullable=False),
    Column("term", BigInteger, nullable=False),  # rises whenever another process takes the role
)

PREDICTIONS = Table(
    "predictions",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("rule", Text, nullable=False),
    Column("entity", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("made_at", BigInteger, nullable=False),
    Column("warned_at", BigInteger),
    Column("updated_at", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Index("predictions_by_outcome", "outcome", "made_at"),
    Index("predictions_by_entity", "entity", "made_at"),
)

SEARCH = "incident_search"
"""Number and search text: SQLite's FTS5, on PostgreSQL a table with a trigram index; see ``incident_rows``."""

"""What a role keeps between two lives, and which process holds it, as rows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from coldaisle.errors import Transient
from coldaisle.store import RoleState
from coldaisle.store.schema import ROLE_LEASES, ROLE_STATE


def write_state(connection: Connection, state: RoleState) -> None:
    """Write changed parts in the caller's transaction. Raises Transient where another process holds the role."""
    mine = (
        select(ROLE_LEASES.c.holder)
        .where(ROLE_LEASES.c.role == state.role, ROLE_LEASES.c.holder == state.holder)
        .with_for_update()  # whoever takes the role over waits for this transaction's end
    )
    if connection.execute(mine).first() is None:
        raise Transient(f"the role {state.role} is held by another process now; this one stands by")
    gone = [{"gone": part} for part, document in state.parts.items() if document is None]
    if gone:
        connection.execute(
            delete(ROLE_STATE).where(ROLE_STATE.c.role == state.role, ROLE_STATE.c.part == bindparam("gone")), gone
        )
    rows = [
        {"role": state.role, "part": part, "document": document}
        for part, document in state.parts.items()
        if document is not None
    ]
    if rows:
        new: Any = (
            postgresql.insert(ROLE_STATE) if connection.dialect.name == "postgresql" else sqlite.insert(ROLE_STATE)
        )
        connection.execute(
            new.on_conflict_do_update(index_elements=["role", "part"], set_={"document": new.excluded.document}), rows
        )


def read_state(connection: Connection, role: str) -> dict[str, str]:
    """Return every part of a role's state by its name."""
    asked = select(ROLE_STATE.c.part, ROLE_STATE.c.document).where(ROLE_STATE.c.role == role)
    return {row.part: row.document for row in connection.execute(asked)}


def take_lease(connection: Connection, role: str, holder: str, now: int, until: int) -> int:
    """Take or renew the lease of a role; return its term, 0 where another process has it."""
    known = connection.execute(
        select(ROLE_LEASES.c.holder, ROLE_LEASES.c.held_until, ROLE_LEASES.c.term)
        .where(ROLE_LEASES.c.role == role)
        .with_for_update()
    ).first()
    if known is not None:
        if known.holder != holder and known.held_until > now:
            return 0
        term = int(known.term) + int(known.holder != holder)
        taken = update(ROLE_LEASES).where(ROLE_LEASES.c.role == role)
        connection.execute(taken.values(holder=holder, held_until=until, term=term))
        return term
    statement: Any = (
        postgresql.insert(ROLE_LEASES) if connection.dialect.name == "postgresql" else sqlite.insert(ROLE_LEASES)
    )
    # Asking for the row back says whether there is one; a count of rows is not told by every client.
    first = (
        statement.values(role=role, holder=holder, held_until=until, term=1)
        .on_conflict_do_nothing(index_elements=["role"])
        .returning(ROLE_LEASES.c.term)
    )
    return 0 if connection.execute(first).first() is None else 1


def end_lease(connection: Connection, role: str, holder: str) -> None:
    """Let go of a role, so that whoever stands by may begin at once."""
    mine = and_(ROLE_LEASES.c.role == role, ROLE_LEASES.c.holder == holder)
    connection.execute(update(ROLE_LEASES).where(mine).values(held_until=0))


def read_lease(connection: Connection, role: str) -> tuple[str, int] | None:
    """Return who holds a role until when (ns), None where nobody ever did."""
    row = connection.execute(
        select(ROLE_LEASES.c.holder, ROLE_LEASES.c.held_until).where(ROLE_LEASES.c.role == role)
    ).first()
    return None if row is None else (str(row.holder), int(row.held_until))

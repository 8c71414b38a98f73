"""What a request of the API may hold, checked before anything is done."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field

from coldaisle.incident import ResolveReason
from dashboard import actions, silencing

MOST_ROWS = 1000
Id = Annotated[str, Path(min_length=1, max_length=80)]
Text = Annotated[str | None, Query(max_length=200)]
Moment = Annotated[str | None, Query(max_length=40, description="RFC 3339, Unix seconds or Unix nanoseconds")]


class Body(BaseModel):
    """What comes with a change. A field that nobody reads is a mistake."""

    model_config = ConfigDict(extra="forbid")


class DeedBody(Body):
    """Who does it, and what they say."""

    actor: Annotated[str, Field(max_length=actions.MOST_ACTOR)] = "api"
    note: Annotated[str, Field(max_length=actions.MOST_NOTE)] = ""

    def deed(self) -> actions.Deed:
        """Return it as the actions take it."""
        return actions.Deed.of(self.actor, self.note)


class AcknowledgeBody(DeedBody):
    """An acknowledgement may end by itself."""

    expires_in_seconds: Annotated[float | None, Field(gt=0, le=30 * 86400)] = None


class ResolveBody(DeedBody):
    """A person closes an incident for a reason; ``ended`` is what Coldaisle itself says."""

    reason: ResolveReason = ResolveReason.REAL


class NoteBody(Body):
    """A line for the timeline."""

    actor: Annotated[str, Field(max_length=actions.MOST_ACTOR)] = "api"
    note: Annotated[str, Field(min_length=1, max_length=actions.MOST_NOTE)]


class SilenceBody(Body):
    """Who mutes what for how long, and why."""

    matchers: Annotated[str, Field(min_length=1, max_length=500, examples=['row="B", severity="ticket"'])]
    duration_seconds: Annotated[float, Field(gt=0, le=silencing.MOST_SECONDS)]
    comment: Annotated[str, Field(min_length=1, max_length=actions.MOST_NOTE)]
    actor: Annotated[str, Field(max_length=actions.MOST_ACTOR)] = "api"


class IncidentSilenceBody(Body):
    """Mute one incident for a time; what is muted follows from what it reaches."""

    duration_seconds: Annotated[float, Field(gt=0, le=silencing.MOST_SECONDS)]
    comment: Annotated[str, Field(min_length=1, max_length=actions.MOST_NOTE)]
    actor: Annotated[str, Field(max_length=actions.MOST_ACTOR)] = "api"

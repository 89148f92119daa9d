"""`/api/v1/innovation`: criterion 3 as the fleet proposes it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from fleet_server.access.guard import Guard, narrowed
from fleet_server.access.model import Permission, Principal
from fleet_server.scoring.service import Scoring, innovation_news

UnitQuery = Annotated[str | None, Query(max_length=200, description="Only this unit and those below, by path such as /bpp/n1/.")]


class TypeOut(BaseModel):
    """One innovation type; it counts when at least one commissioned position of it works now."""

    type: str
    working: int
    commissioned: int
    counts: bool


class AlternativeOut(BaseModel):
    """What another reading of the table would give."""

    reading: str
    score: int


class InnovationOut(BaseModel):
    """The proposal for a unit; an evaluator decides."""

    types: list[TypeOut]
    count: int
    score: int
    ruling: str
    flags: list[str]
    alternatives: list[AlternativeOut]
    is_demo: bool


def router(service: Scoring, guard: Guard) -> APIRouter:
    """Return the routes, to be mounted under `/api/v1`."""
    api = APIRouter(tags=["score"])

    @api.get("/innovation")
    def innovation(principal: Annotated[Principal, Depends(guard.allow(Permission.VIEW))], unit: UnitQuery = None) -> InnovationOut:
        """Show which innovation types work now, and the score that they would give."""
        return InnovationOut.model_validate(innovation_news(service.innovation(scope=narrowed(principal, unit))))

    return api

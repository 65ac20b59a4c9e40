"""Statements planned without a server."""

from __future__ import annotations

from gradstream.engine.catalog import Catalog
from gradstream.engine.language import plan
from gradstream.engine.language.actions import StartQuery


def started(text: str) -> StartQuery:
    """What the last of some statements starts."""
    catalog = Catalog()
    for number, statement in enumerate(plan.parse(text)):
        action = plan.plan_statement(statement, catalog, {}, number=number)
        plan.apply(action, catalog)
    assert isinstance(action, StartQuery)
    return action

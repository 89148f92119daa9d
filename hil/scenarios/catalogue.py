"""All scenarios that can be run by name."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from hil.scenarios.kills import play_kills
from hil.scenarios.outages import play_broker_restarts, play_influx_down, play_restored, play_sql_down
from hil.scenarios.world import World


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing that happens to a world, and must end well."""

    name: str
    summary: str
    play: Callable[[World], Awaitable[None]]
    needs: str = ""
    """The real server it cannot do without; empty: it runs on the embedded parts too."""


SCENARIOS: Final = (
    Scenario("kills", "Broker, server, agents and all of them killed at random points, lines cut and swallowed", play_kills),
    Scenario("broker", "The broker is killed three times in a row", play_broker_restarts),
    Scenario("restored", "The server comes back with the empty database of its first minute", play_restored),
    Scenario("influxdb-down", "InfluxDB is away for many heartbeats", play_influx_down, needs="--influxdb-url"),
    Scenario("sql-down", "The database is away for many heartbeats", play_sql_down, needs="--database-url"),
)


def find(name: str) -> Scenario | None:
    """Return the scenario of that name."""
    return next((scenario for scenario in SCENARIOS if scenario.name == name), None)

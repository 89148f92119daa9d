"""What a browser asks Grafana for a board: bodies of `POST /api/ds/query`. Pure.

The browser fills in the variables and says how wide a point is; `$timeFilter` and `$__interval` are filled in by the data
source's backend.
Source: Grafana HTTP API, "Query a data source"; grafana/grafana, pkg/tsdb/influxdb/models/query.go (`Build`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

POINTS: Final = 1000
"""A screen's width: what Grafana asks of a data source for one panel."""
SHORTEST_S: Final = 10
"""`timeInterval` of the provisioned data source: how often a row comes at most."""

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SPECIAL: Final = re.compile(r"[\\^$*+?.()|\[\]{}/]")
_VARIABLE: Final = re.compile(r"\$\{\w+(?::\w+)?\}")


@dataclass(frozen=True, slots=True)
class Question:
    """One request, with one query in it."""

    about: str
    """The panel's title or the variable's name."""
    body: Mapping[str, Any]

    @property
    def ref_id(self) -> str:
        """The name under which the answer comes."""
        return str(self.body["queries"][0]["refId"])


def of_panels(board: Mapping[str, Any], values: Mapping[str, str]) -> Iterator[Question]:
    """Return a question for each target of each panel, `values` being the chosen value of each variable.

    Raises:
        ValueError: a query names a variable that has no value.
    """
    for panel in board["panels"]:
        start = f"now-{panel['timeFrom']}" if "timeFrom" in panel else board["time"]["from"]
        interval = interval_s(panel, seconds(start.removeprefix("now-")))
        for target in panel["targets"]:
            query = {**target, "query": filled_in(target["query"], values)}
            yield Question(panel["title"], _body(query, start, interval))


def of_variable(variable: Mapping[str, Any], board: Mapping[str, Any]) -> Question:
    """Return the question that brings a variable's values."""
    query = {"refId": "metricFindQuery", "datasource": variable["datasource"], "query": variable["query"], "rawQuery": True}
    return Question(str(variable["name"]), _body(query, board["time"]["from"], SHORTEST_S))


def filled_in(query: str, values: Mapping[str, str]) -> str:
    """Put the variables' values, escaped, in the place of `${name:regex}`.

    Raises:
        ValueError: a variable is left.
    """
    for name, value in values.items():
        query = query.replace(f"${{{name}:regex}}", regex_escaped(value))
    left = _VARIABLE.findall(query)
    if left:
        raise ValueError(f"nothing fills in {', '.join(left)} of {query}")
    return query


def regex_escaped(value: str) -> str:
    """Return `value` as Grafana's format `regex` writes it."""
    return _SPECIAL.sub(lambda found: "\\" + found[0], value)


def seconds(text: str) -> int:
    """Return a duration such as `3m`, in seconds."""
    return int(text[:-1]) * _UNITS_S[text[-1]]


def interval_s(panel: Mapping[str, Any], span_s: int) -> int:
    """Return how many seconds a point stands for: the span over a screen's width, not below the panel's own least."""
    return max(span_s // POINTS, seconds(panel.get("interval", f"{SHORTEST_S}s")))


def _body(query: Mapping[str, Any], start: str, interval: int) -> dict[str, Any]:
    return {"from": start, "to": "now", "queries": [{**query, "intervalMs": interval * 1000, "maxDataPoints": POINTS}]}

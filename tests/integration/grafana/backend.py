"""What Grafana does to a raw InfluxQL query before and after it is sent.

Source: grafana/grafana, pkg/tsdb/influxdb/models/query.go (`Build`) and influxql/converter; the variable's format is the
front end's `${name:regex}`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tests.servers.influxdb import Influx

Value = float | str | bool | None


@dataclass(frozen=True)
class Span:
    """A time range, `[from_ms, to_ms]` as Grafana has it."""

    from_ms: int
    to_ms: int


@dataclass(frozen=True)
class Series:
    """One series of the answer."""

    name: str
    tags: Mapping[str, str]
    columns: list[str]
    rows: list[list[Any]]

    def column(self, name: str) -> list[Any]:
        return [row[self.columns.index(name)] for row in self.rows]


def expand(query: str, span: Span, *, interval_s: int = 10, variables: Mapping[str, str] | None = None) -> str:
    """Fill in macros and variables."""
    for name, value in (variables or {}).items():
        query = query.replace(f"${{{name}:regex}}", regex_escaped(value))
    query = query.replace("$timeFilter", f"time >= {span.from_ms}ms and time <= {span.to_ms}ms")
    query = query.replace("$interval", f"{interval_s}s").replace("$__interval_ms", str(interval_s * 1000))
    query = query.replace("$__interval", f"{interval_s}s")
    left = re.findall(r"\$\{?\w+", query)
    assert not left, f"nothing fills in {left} of {query}"
    return query


def regex_escaped(value: str) -> str:
    return re.sub(r"[\\^$*+?.()|\[\]{}/]", lambda found: "\\" + found[0], value)


def seconds(text: str) -> int:
    """Return a duration such as `3m` in seconds."""
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


def interval_of(panel: Mapping[str, Any], span: Span) -> int:
    """Return the interval in seconds: the span over a screen's width, not below the panel's own or 10 s."""
    return max((span.to_ms - span.from_ms) // 1_000_000, seconds(panel.get("interval", "10s")))


class DataSource:
    """The provisioned data source: its database and header, over the token that Grafana gets."""

    def __init__(self, influx: Influx, provisioned: Mapping[str, Any], token: str) -> None:
        assert provisioned["jsonData"]["httpHeaderName1"] == "Authorization"
        scheme = provisioned["secureJsonData"]["httpHeaderValue1"].split()[0]
        self._database = provisioned["jsonData"]["dbName"]
        self._http = httpx.Client(base_url=influx.url, headers={"Authorization": f"{scheme} {token}"}, timeout=30)

    def ask(self, query: str) -> list[Series]:
        answer = self._http.get("/query", params={"db": self._database, "epoch": "ms", "q": query})
        assert answer.is_success, f"{answer.status_code}: {answer.text[:300]} of {query}"
        (result,) = answer.json()["results"]
        assert "error" not in result, f"{result['error']} of {query}"
        return [
            Series(found.get("name", ""), found.get("tags", {}), found["columns"], found.get("values", []))
            for found in result.get("series", [])
        ]

    def close(self) -> None:
        self._http.close()

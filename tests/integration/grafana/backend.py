"""What Grafana's backend does to a raw InfluxQL query before and after it is sent.

Source: grafana/grafana, pkg/tsdb/influxdb/models/query.go (`Build`) and influxql/converter.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from grafana.smoke import questions

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
    query = questions.filled_in(query, variables or {})
    query = query.replace("$timeFilter", f"time >= {span.from_ms}ms and time <= {span.to_ms}ms")
    query = query.replace("$interval", f"{interval_s}s").replace("$__interval_ms", str(interval_s * 1000))
    query = query.replace("$__interval", f"{interval_s}s")
    left = re.findall(r"\$\{?\w+", query)
    assert not left, f"nothing fills in {left} of {query}"
    return query


def interval_of(panel: Mapping[str, Any], span: Span) -> int:
    """Return the interval in seconds."""
    return questions.interval_s(panel, (span.to_ms - span.from_ms) // 1000)


class DataSource:
    """The provisioned data source: its database and header, over the token that Grafana gets."""

    def __init__(self, url: str, provisioned: Mapping[str, Any], token: str) -> None:
        assert provisioned["jsonData"]["httpHeaderName1"] == "Authorization"
        scheme = provisioned["secureJsonData"]["httpHeaderValue1"].split()[0]
        self._database = provisioned["jsonData"]["dbName"]
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"{scheme} {token}"}, timeout=30)

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

"""Whether what Grafana answers is what a person at a board needs. Pure: each judge returns a complaint, empty where all is well.

Source: Grafana HTTP API, "Query a data source", "Check data source health", "Webhook notifier"; grafana/grafana,
pkg/services/ngalert/api/tooling/definitions/prom.go (`RuleResponse`).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

_NEVER: Final = "0001-01-01"
"""Go's zero time: not yet."""


class RuleState(NamedTuple):
    """How a rule stands."""

    state: str
    """`inactive`, `pending` or `firing`."""
    error: str
    is_evaluated: bool


def complaint_of_health(answer: Mapping[str, Any]) -> str:
    """Judge `GET /api/health`."""
    return "" if answer.get("database") == "ok" else f"Grafana's own database is {answer.get('database', 'not named')}"


def complaint_of_data_source(answer: Mapping[str, Any]) -> str:
    """Judge `GET /api/datasources/uid/…/health`."""
    return "" if answer.get("status") == "OK" else f"{answer.get('status', 'no status')}: {_said(answer)}"


def complaint_of_query(answer: Mapping[str, Any], ref_id: str) -> str:
    """Judge an answer of `POST /api/ds/query`: an error, or nothing to show.

    InfluxDB answers a misspelt measurement with success and no rows, so no rows is a fault here.
    """
    result = answer.get("results", {}).get(ref_id)
    if result is None:
        return _said(answer)
    if "error" in result:
        return str(result["error"])
    return "no rows" if next(_values(result), None) is None else ""


def complaint_of_board(board: Mapping[str, Any], committed: Mapping[str, Any]) -> str:
    """Judge a board that Grafana gives back: it asks what the committed one asks."""
    found, wanted = _queries(board), _queries(committed)
    missing = [title for title, _ in wanted if title not in dict(found)]
    if missing:
        return f"it lacks the panels {', '.join(missing)}"
    return "" if found == wanted else "it asks other queries than the committed one: an older or changed board"


def values_of(answer: Mapping[str, Any], ref_id: str) -> list[str]:
    """Return the values of a variable."""
    return [str(value) for value in _values(answer["results"][ref_id])]


def state_of_rule(answer: Mapping[str, Any], title: str) -> RuleState | None:
    """Find a rule in `GET /api/prometheus/grafana/api/v1/rules`; `None` where there is none of that title."""
    for group in answer["data"]["groups"]:
        for rule in group["rules"]:
            if rule["name"] == title:
                error = "" if rule["health"] in ("ok", "nodata") else rule.get("lastError") or rule["health"]
                return RuleState(rule["state"], error, not str(rule.get("lastEvaluation", _NEVER)).startswith(_NEVER))
    return None


def is_firing(notification: Mapping[str, Any], title: str) -> bool:
    """Whether a webhook's body says that the rule of that title fires."""
    return any(alert["status"] == "firing" and alert["labels"].get("alertname") == title for alert in notification.get("alerts", []))


def _values(result: Mapping[str, Any]) -> Iterator[object]:
    """Yield what is measured in a result's frames: all but times and gaps."""
    for frame in result.get("frames") or []:
        fields = frame["schema"]["fields"]
        for field, column in zip(fields, frame.get("data", {}).get("values") or [], strict=False):
            if field["type"] != "time":
                yield from (value for value in column if value is not None)


def _queries(board: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    return [(panel["title"], [target["query"] for target in panel.get("targets", [])]) for panel in board["panels"]]


def _said(answer: Mapping[str, Any]) -> str:
    return str(answer.get("message") or "Grafana said nothing")

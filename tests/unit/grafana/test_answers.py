"""Judging what Grafana answers."""

from typing import Any

import pytest

from grafana.smoke import answers
from tests.fake_grafana import frame

ROW = frame(("Time", "time", [1]), ("Value", "number", [0]))


def test_a_zero_is_a_value() -> None:
    assert answers.complaint_of_query({"results": {"A": {"status": 200, "frames": [ROW]}}}, "A") == ""


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ({"results": {"A": {"status": 500, "error": "it broke", "frames": [ROW]}}}, "it broke"),
        ({"results": {"A": {"status": 200}}}, "no rows"),
        ({"results": {"A": {"status": 200, "frames": None}}}, "no rows"),
        ({"results": {"A": {"status": 200, "frames": [{"schema": {"fields": []}, "data": {"values": []}}]}}}, "no rows"),
        ({"results": {"A": {"status": 200, "frames": [frame(("Time", "time", [1, 2]))]}}}, "no rows"),
        ({"results": {"B": {"status": 200, "frames": [ROW]}}}, "Grafana said nothing"),
        ({"message": "Bad request data"}, "Bad request data"),
    ],
)
def test_answer_with_nothing_to_show(answer: dict[str, Any], complaint: str) -> None:
    assert answers.complaint_of_query(answer, "A") == complaint


def test_values_of_a_variable_without_gaps() -> None:
    assert answers.values_of({"results": {"V": {"frames": [frame(("Value", "string", ["a", None, "b"]))]}}}, "V") == ["a", "b"]


def test_health() -> None:
    assert answers.complaint_of_health({"database": "ok", "version": "13.2.3"}) == ""
    assert answers.complaint_of_health({"database": "failing"}) == "Grafana's own database is failing"
    assert answers.complaint_of_health({}) == "Grafana's own database is not named"


def test_data_source() -> None:
    assert answers.complaint_of_data_source({"status": "OK", "message": "datasource is working. 7 measurements found"}) == ""
    assert answers.complaint_of_data_source({"status": "ERROR", "message": "unauthorized"}) == "ERROR: unauthorized"


def rules(**more: Any) -> dict[str, Any]:
    rule = {"name": "ours", "state": "inactive", "health": "ok", "lastEvaluation": "2026-01-02T03:04:05Z", **more}
    return {"status": "success", "data": {"groups": [{"name": "g", "rules": [{"name": "other", "state": "firing", "health": "ok"}, rule]}]}}


def test_rule_is_found_by_its_title() -> None:
    assert answers.state_of_rule(rules(), "ours") == answers.RuleState("inactive", "", is_evaluated=True)
    assert answers.state_of_rule(rules(), "nobody's") is None
    assert answers.state_of_rule({"data": {"groups": []}}, "ours") is None


def test_rule_that_errs_says_why() -> None:
    found = answers.state_of_rule(rules(health="error", lastError="no such data source", state="firing"), "ours")
    assert found == answers.RuleState("firing", "no such data source", is_evaluated=True)


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", None])
def test_rule_that_was_never_evaluated(at: str | None) -> None:
    more = {"lastEvaluation": at} if at else {}
    answer = rules(**more)
    if at is None:
        del answer["data"]["groups"][0]["rules"][1]["lastEvaluation"]
    found = answers.state_of_rule(answer, "ours")
    assert found is not None
    assert found.is_evaluated is False


@pytest.mark.parametrize(
    ("alerts", "fires"),
    [
        ([{"status": "firing", "labels": {"alertname": "ours"}}], True),
        ([{"status": "resolved", "labels": {"alertname": "ours"}}], False),
        ([{"status": "firing", "labels": {"alertname": "other"}}], False),
        ([{"status": "firing", "labels": {}}], False),
        ([], False),
    ],
)
def test_notification(alerts: list[Any], *, fires: bool) -> None:
    assert answers.is_firing({"status": "firing", "alerts": alerts}, "ours") is fires

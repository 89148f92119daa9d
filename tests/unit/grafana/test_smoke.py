"""The smoke passes where all is well, and says what is wrong where one thing is not."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from grafana_client.api import GrafanaApi

from grafana.smoke.checks import Check, Patience, Smoke
from grafana.smoke.install import committed_board, committed_group, install
from tests.fake_grafana import MAIN_ORG, PASSWORD, USER, FakeGrafana, frame, one_row

BOARD = committed_board()
(RULE,) = committed_group()["rules"]
SHORT = Patience(loaded_s=0.2, contact_s=0.2, evaluated_s=0.2, fired_s=0.2, pause_s=0.02)
PRESSES = "การกดปุ่ม · Presses"


@pytest.fixture
def grafana() -> Iterator[FakeGrafana]:
    with FakeGrafana() as fake:
        install(GrafanaApi.from_url(fake.url, (USER, PASSWORD)), influxdb_url="http://127.0.0.1:8086", token="t")
        yield fake


def look(grafana: FakeGrafana, patience: Patience = SHORT) -> list[Check]:
    api: Any = GrafanaApi.from_url(grafana.url, (USER, PASSWORD))
    smoke = Smoke(api, board=BOARD, values={"station": "lumpini"}, rule_title=RULE["title"], patience=patience)
    return list(smoke.run(grafana.fire))


def complaints(checks: list[Check]) -> dict[str, str]:
    return {check.what: check.complaint for check in checks if check.complaint}


def only_complaint(grafana: FakeGrafana) -> tuple[str, str]:
    ((what, complaint),) = complaints(look(grafana)).items()
    return what, complaint


def presses(result: Mapping[str, Any]) -> Any:
    """Answer as if all were well, but for the panel of presses."""
    return lambda query, start: dict(result) if '"events"."event"' in query["query"] else one_row(query, start)


def test_all_is_well(grafana: FakeGrafana) -> None:
    checks = look(grafana)
    assert complaints(checks) == {}
    targets = sum(len(panel["targets"]) for panel in BOARD["panels"])
    assert len(checks) == 3 + len(BOARD["templating"]["list"]) + targets + 3


def test_grafana_that_is_unwell(grafana: FakeGrafana) -> None:
    grafana.database = "failing"
    assert only_complaint(grafana) == ("Grafana is well", "Grafana's own database is failing")


def test_grafana_that_is_away() -> None:
    with FakeGrafana() as gone:
        pass
    assert only_complaint(gone) == ("Grafana is well", "Grafana does not answer: ConnectionError")


def test_data_source_that_is_unwell_ends_it(grafana: FakeGrafana) -> None:
    grafana.source_status, grafana.source_message = "ERROR", "connection refused error performing influxQL query"
    checks = look(grafana)
    assert [check.what for check in checks] == ["Grafana is well", "its data source is well"]
    assert "connection refused" in checks[-1].complaint


def test_data_source_that_is_missing(grafana: FakeGrafana) -> None:
    grafana.orgs[MAIN_ORG].sources.clear()
    assert "Data source not found" in only_complaint(grafana)[1]


def test_board_that_is_missing(grafana: FakeGrafana) -> None:
    grafana.orgs[MAIN_ORG].boards.clear()
    assert only_complaint(grafana) == ("the board loads", "there is no board fleet-station")


def test_board_that_is_an_older_one(grafana: FakeGrafana) -> None:
    older = committed_board()
    older["panels"][0]["targets"][0]["query"] = "SELECT 1"
    grafana.orgs[MAIN_ORG].boards[BOARD["uid"]] = older
    assert "other queries" in only_complaint(grafana)[1]


def test_board_that_lost_a_panel(grafana: FakeGrafana) -> None:
    grafana.orgs[MAIN_ORG].boards[BOARD["uid"]] = BOARD | {"panels": [p for p in BOARD["panels"] if p["title"] != PRESSES]}
    assert only_complaint(grafana)[1] == f"it lacks the panels {PRESSES}"


def test_query_that_fails(grafana: FakeGrafana) -> None:
    grafana.ask = presses({"status": 400, "error": "error parsing query: found FORM, expected FROM"})
    assert only_complaint(grafana) == (f"panel {PRESSES}, query A", "error parsing query: found FORM, expected FROM")


@pytest.mark.parametrize(
    "frames",
    [[], [frame(("Time", "time", []), ("Value", "number", []))], [frame(("Time", "time", [1, 2]), ("Value", "number", [None, None]))]],
)
def test_query_without_rows(grafana: FakeGrafana, frames: list[Any]) -> None:
    grafana.ask = presses({"status": 200, "frames": frames})
    assert only_complaint(grafana) == (f"panel {PRESSES}, query A", "no rows")


def test_variable_without_our_station(grafana: FakeGrafana) -> None:
    other = {"status": 200, "frames": [frame(("Value", "string", ["chana", "nakhon"]))]}
    grafana.ask = lambda query, start: other if query["query"].startswith("SHOW") else one_row(query, start)
    assert only_complaint(grafana) == ("variable station", "lumpini is not among chana, nakhon")


def test_variable_without_values(grafana: FakeGrafana) -> None:
    nothing: dict[str, Any] = {"status": 200, "frames": []}
    grafana.ask = lambda query, start: nothing if query["query"].startswith("SHOW") else one_row(query, start)
    assert only_complaint(grafana) == ("variable station", "no rows")


def test_contact_point_that_is_taken_after_a_while(grafana: FakeGrafana) -> None:
    grafana.contacts_refused = 2
    assert complaints(look(grafana, Patience(contact_s=60, pause_s=0.02))) == {}


def test_contact_point_that_is_never_taken(grafana: FakeGrafana) -> None:
    grafana.contacts_refused = 1_000_000
    what, complaint = only_complaint(grafana)
    assert what == "a contact point can be made"
    assert "no Alertmanager" in complaint


def test_rule_that_does_not_fire(grafana: FakeGrafana) -> None:
    grafana.is_notifying = False
    what, complaint = only_complaint(grafana)
    assert what.startswith("the rule fires")
    assert "0 other notifications" in complaint


def test_another_rule_that_fires_is_not_ours(grafana: FakeGrafana) -> None:
    api: Any = GrafanaApi.from_url(grafana.url, (USER, PASSWORD))
    smoke = Smoke(api, board=BOARD, values={"station": "lumpini"}, rule_title=RULE["title"], patience=SHORT)

    def fire_another() -> None:
        grafana.orgs[MAIN_ORG].rules[0] = RULE | {"title": "another"}
        grafana.fire()

    assert "1 other notifications" in next(iter(complaints(list(smoke.run(fire_another))).values()))


@pytest.mark.parametrize(
    ("unwell", "says"),
    [
        ({"last_evaluation": "0001-01-01T00:00:00Z"}, "never evaluated"),
        ({"rule_health": "error"}, "error"),
        ({"rule_state": "firing"}, "it is firing"),
    ],
)
def test_rule_that_does_not_rest_while_all_is_well(grafana: FakeGrafana, unwell: Mapping[str, str], says: str) -> None:
    for name, value in unwell.items():
        setattr(grafana, name, value)
    what, complaint = only_complaint(grafana)
    assert what.startswith("the rule rests")
    assert says in complaint


def test_rule_that_is_missing(grafana: FakeGrafana) -> None:
    grafana.orgs[MAIN_ORG].rules.clear()
    assert "there is no rule" in only_complaint(grafana)[1]


def test_what_is_installed_over_the_api_is_what_is_committed(grafana: FakeGrafana) -> None:
    org = grafana.orgs[MAIN_ORG]
    (source,) = org.sources.values()
    assert source["url"] == "http://127.0.0.1:8086"
    assert source["secureJsonData"] == {"httpHeaderValue1": "Token t"}
    assert org.boards == {BOARD["uid"]: BOARD}
    (rule,) = org.rules
    assert {key: rule[key] for key in RULE} == RULE
    assert org.folders["fleet"]["title"] == "Smart Safety Zone"

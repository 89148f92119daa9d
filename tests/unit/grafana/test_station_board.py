"""The committed board is the generated one, and is what Grafana will load."""

import json
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.alerting import Rule
from grafana_foundation_sdk.models.dashboard import Dashboard

from firmware_agent.contract.vocabulary import Function, Kind
from fleet_server.telemetry.lines import STATE_NUMBER
from grafana.build import FOLDER, generated
from grafana.influxql import DATA_SOURCE_UID, InfluxQL, register
from grafana.words import FUNCTIONS, KINDS, STATES

BOARDS = sorted((FOLDER / "boards").glob("*.json"))


@pytest.fixture(params=BOARDS, ids=lambda path: path.stem)
def board(request: pytest.FixtureRequest) -> Any:
    return json.loads(request.param.read_text())


def test_committed_boards_are_the_generated_ones() -> None:
    made = generated()
    assert sorted(made) == BOARDS
    for path, text in made.items():
        assert path.read_text() == text, f"{path.name} is not what python -m grafana.build writes"


def test_round_trip_through_the_sdk_loses_nothing(board: Any) -> None:
    """A misspelt key would be dropped on the way."""
    register_default_plugins()
    register()
    again = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    assert again == board


def test_board_is_classic_and_tells_bangkok_time(board: Any) -> None:
    assert board["schemaVersion"] == 42
    assert "spec" not in board, "Grafana's file provisioning refuses the v2 schema"
    assert "apiVersion" not in board
    assert board["timezone"] == "Asia/Bangkok"
    assert board["editable"] is False
    assert "id" not in board, "an id is of one Grafana, a uid of all"


def test_uids_are_unique() -> None:
    uids = [json.loads(path.read_text())["uid"] for path in BOARDS]
    assert len(uids) == len(set(uids))
    assert all(0 < len(uid) <= 40 for uid in uids)


def test_panels_are_numbered_and_do_not_overlap(board: Any) -> None:
    panels = board["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    places = [panel["gridPos"] for panel in panels]
    for place in places:
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
        assert place["h"] > 0
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


def test_every_panel_says_what_it_is_in_two_languages(board: Any) -> None:
    for panel in board["panels"]:
        assert_in_two_languages(panel["title"], " · ")
        assert_in_two_languages(panel["description"], "\n\n")
        assert len(panel["description"]) > 60, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_board_variables_and_words_are_in_two_languages(board: Any) -> None:
    assert_in_two_languages(board["title"], " · ")
    assert_in_two_languages(board["description"], "\n\n")
    for variable in board["templating"]["list"]:
        assert_in_two_languages(variable["label"], " · ")
        assert_in_two_languages(variable["description"], "\n\n")
    for text in _texts(board):
        assert_in_two_languages(text, " · ")


def assert_in_two_languages(text: str, between: str) -> None:
    thai, _, english = text.partition(between)
    assert any("\u0e00" <= letter <= "\u0e7f" for letter in thai), text
    assert english, text
    assert not any("\u0e00" <= letter <= "\u0e7f" for letter in english), text


def _texts(part: Any) -> Iterator[str]:
    """Yield what is shown in the place of values and of names of columns."""
    if isinstance(part, dict):
        if isinstance(part.get("text"), str):
            yield part["text"]
        if isinstance(part.get("noValue"), str):
            yield part["noValue"]
        if part.get("id") in ("displayName", "noValue"):
            yield part["value"]
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _texts(inner)


def test_units_are_grafanas(board: Any) -> None:
    known = {value for value in vars(units).values() if isinstance(value, str)}
    for unit in _units(board):
        assert unit in known or unit.startswith("suffix:"), unit


def _units(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("unit"), str):
            yield part["unit"]
        if part.get("id") == "unit":
            yield part["value"]
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _units(inner)


def test_every_query_asks_our_data_source(board: Any) -> None:
    provisioned = yaml.safe_load((FOLDER / "provisioning" / "datasources" / "influxdb.yaml").read_text())["datasources"]
    assert [source["uid"] for source in provisioned] == [DATA_SOURCE_UID]
    for panel in board["panels"]:
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"] == {"type": "influxdb", "uid": DATA_SOURCE_UID}
            assert "$timeFilter" in target["query"]
            assert "${station:regex}" in target["query"]


def test_columns_that_are_named_differently_exist(board: Any) -> None:
    """An override of a field that the query does not give would do nothing, unseen."""
    for panel in board["panels"]:
        (target,) = panel["targets"]
        for override in panel["fieldConfig"]["overrides"]:
            name = override["matcher"]["options"]
            given = name in KINDS if target.get("alias") == "$tag_kind" else f'"{name}"' in target["query"] or name == "Time"
            assert given, f"{panel['title']}: {name}"


def test_timeline_shows_gaps_as_gaps(board: Any) -> None:
    (panel,) = [panel for panel in board["panels"] if panel["type"] == "state-timeline"]
    assert panel["fieldConfig"]["defaults"]["custom"]["spanNulls"] is False
    assert "fill(null)" in panel["targets"][0]["query"]
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    assert all(shown["text"] and shown["color"] for shown in mapping["options"].values())


def test_states_are_the_servers_with_a_word_and_a_colour_of_their_own() -> None:
    assert {word.text.partition(" · ")[2]: word.number for word in STATES} == {state.value: n for state, n in STATE_NUMBER.items()}
    assert len({word.colour for word in STATES}) == len(STATES)
    assert set(KINDS) == set(Kind)
    assert set(FUNCTIONS) == {*Function, "all"}


def test_token_is_a_file() -> None:
    text = (FOLDER / "provisioning" / "datasources" / "influxdb.yaml").read_text()
    (source,) = yaml.safe_load(text)["datasources"]
    assert source["secureJsonData"] == {"httpHeaderValue1": "Token $__file{/run/fleet/influxdb}"}
    assert source["editable"] is False


def test_dead_mans_rule_alarms_when_there_is_nothing() -> None:
    (group,) = yaml.safe_load((FOLDER / "provisioning" / "alerting" / "fleet-server.yaml").read_text())["groups"]
    (rule,) = group["rules"]
    assert (rule["noDataState"], rule["execErrState"]) == ("Alerting", "Alerting")
    query = rule["data"][0]
    assert query["model"]["resultFormat"] == "time_series"
    assert query["datasourceUid"] == DATA_SOURCE_UID
    model = {key: value for key, value in query["model"].items() if key != "datasource"}
    assert {key: value for key, value in InfluxQL.from_json(model).to_json().items() if key != "datasource"} == model


def test_alerts_have_a_folder_of_their_own() -> None:
    """Grafana reads alert rules before boards and finds folders by title: one title for both would make two folders (grafana#125079)."""
    provisioning = FOLDER / "provisioning"
    boards = {provider["folder"] for provider in yaml.safe_load((provisioning / "dashboards" / "fleet.yaml").read_text())["providers"]}
    alerts = {group["folder"] for group in yaml.safe_load((provisioning / "alerting" / "fleet-server.yaml").read_text())["groups"]}
    assert not boards & alerts
    assert not any("/" in folder for folder in boards | alerts), "a slash would nest"


def test_alert_speaks_two_languages_and_is_left_alone_by_grafanas_interpolation() -> None:
    (group,) = yaml.safe_load((FOLDER / "provisioning" / "alerting" / "fleet-server.yaml").read_text())["groups"]
    (rule,) = group["rules"]
    for text in (group["folder"], rule["title"], *rule["annotations"].values()):
        assert_in_two_languages(text, " · ")
    assert "$" not in json.dumps([group["folder"], rule["title"], rule["labels"], rule["annotations"]]), (
        "$ in labels is an environment variable"
    )
    assert rule["data"][0]["model"]["query"].count("$") == rule["data"][0]["model"]["query"].count("$timeFilter") == 1, (
        "queries keep theirs"
    )


def test_rule_is_spelt_as_the_sdk_spells_it() -> None:
    """A misspelt key would be dropped on the way."""
    register_default_plugins()
    register()
    (group,) = yaml.safe_load((FOLDER / "provisioning" / "alerting" / "fleet-server.yaml").read_text())["groups"]
    (rule,) = group["rules"]
    again = json.loads(json.dumps(Rule.from_json(rule), cls=JSONEncoder))
    assert {key: again[key] for key in rule} == rule

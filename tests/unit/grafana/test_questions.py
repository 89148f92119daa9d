"""What is asked for a board is what a browser would ask."""

import pytest

from grafana.smoke import questions
from grafana.smoke.install import committed_board

BOARD = committed_board()
PANEL = {
    "title": "a panel",
    "targets": [{"refId": "A", "datasource": {"uid": "x"}, "query": 'SELECT v FROM m WHERE "s" =~ /^${station:regex}$/ AND $timeFilter'}],
}


def test_span_is_the_boards_and_the_backends_macros_are_left_to_it() -> None:
    (question,) = questions.of_panels({"panels": [PANEL], "time": {"from": "now-6h"}}, {"station": "a/b"})
    assert (question.about, question.ref_id) == ("a panel", "A")
    assert (question.body["from"], question.body["to"]) == ("now-6h", "now")
    (query,) = question.body["queries"]
    assert query["query"] == r'SELECT v FROM m WHERE "s" =~ /^a\/b$/ AND $timeFilter'
    assert query["datasource"] == {"uid": "x"}
    assert (query["intervalMs"], query["maxDataPoints"]) == (21_000, 1000)


def test_panel_with_a_span_and_an_interval_of_its_own() -> None:
    own = PANEL | {"timeFrom": "3m", "interval": "1m"}
    (question,) = questions.of_panels({"panels": [own], "time": {"from": "now-6h"}}, {"station": "x"})
    assert question.body["from"] == "now-3m"
    assert question.body["queries"][0]["intervalMs"] == 60_000


def test_every_target_of_the_board_is_asked() -> None:
    asked = [(question.about, question.ref_id) for question in questions.of_panels(BOARD, {"station": "x"})]
    assert asked == [(panel["title"], target["refId"]) for panel in BOARD["panels"] for target in panel["targets"]]


def test_variable_of_the_board_is_asked_raw() -> None:
    (variable,) = BOARD["templating"]["list"]
    question = questions.of_variable(variable, BOARD)
    assert question.about == "station"
    (query,) = question.body["queries"]
    assert query["query"] == variable["query"]
    assert query["rawQuery"] is True
    assert query["datasource"]["uid"] == "fleet-influxdb"


def test_variable_without_a_value_is_a_fault() -> None:
    with pytest.raises(ValueError, match=r"\$\{station:regex\}"):
        list(questions.of_panels(BOARD, {}))


@pytest.mark.parametrize(
    ("text", "escaped"), [("a.b", r"a\.b"), ("a|b", r"a\|b"), ("(x)*", r"\(x\)\*"), ("a-b_c", "a-b_c"), ("สน.", r"สน\.")]
)
def test_special_letters_lose_their_meaning(text: str, escaped: str) -> None:
    assert questions.regex_escaped(text) == escaped


@pytest.mark.parametrize(("text", "length_s"), [("30s", 30), ("3m", 180), ("6h", 21_600), ("7d", 604_800)])
def test_durations(text: str, length_s: int) -> None:
    assert questions.seconds(text) == length_s

"""The checks, asked of Grafana's HTTP API through grafana-client."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from grafana_client.client import GrafanaClientError, GrafanaException
from niquests.exceptions import RequestException  # what grafana-client lets through

from grafana.influxql import DATA_SOURCE_UID
from grafana.smoke import answers, questions
from grafana.smoke.webhook import Webhook

_CONTACT: Final = "fleet smoke"
_NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    what: str
    complaint: str
    """Empty where all is well."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take, in seconds: Grafana looks at its files, and evaluates our rule, once a minute.

    Before the rule fires its five minutes must run dry, and it waits for one more.
    """

    loaded_s: float = 90.0
    contact_s: float = 90.0
    evaluated_s: float = 180.0
    fired_s: float = 720.0
    pause_s: float = 1.0


class Smoke:
    """All checks, in an order in which each needs the ones before it."""

    def __init__(
        self, api: Any, *, board: Mapping[str, Any], values: Mapping[str, str], rule_title: str, patience: Patience | None = None
    ) -> None:
        """`api` is a `GrafanaApi`, which has no types. `board` is the committed one, `values` what is chosen for its variables."""
        self._api = api
        self._board = board
        self._values = values
        self._rule_title = rule_title
        self._patience = patience or Patience()

    def run(self, fall_silent: Callable[[], None]) -> Iterator[Check]:
        """Yield each check when it is done; end early where nothing that follows could pass.

        `fall_silent` stops the fleet server's writing, which the rule must notice.
        """
        for what, look in self._first():
            check = Check(what, _complaint_of(look))
            yield check
            if check.complaint:
                return
        for variable in self._board["templating"]["list"]:
            yield Check(f"variable {variable['name']}", _complaint_of(partial(self._variable, variable)))
        for question in questions.of_panels(self._board, self._values):
            yield Check(f"panel {question.about}, query {question.ref_id}", _complaint_of(partial(self._query, question)))
        yield from self._alarm(fall_silent)

    def _first(self) -> tuple[tuple[str, Callable[[], str]], ...]:
        return (
            ("Grafana is well", self._health),
            ("its data source is well", self._data_source),
            ("the board loads", self._loads),
        )

    def _health(self) -> str:
        return answers.complaint_of_health(self._api.client.GET("/health"))

    def _data_source(self) -> str:
        return answers.complaint_of_data_source(self._api.datasource.health(DATA_SOURCE_UID))

    def _loads(self) -> str:
        if not self._wait_until(lambda: self._served_board() is not None, self._patience.loaded_s):
            return f"there is no board {self._board['uid']}"
        return answers.complaint_of_board(self._served_board() or {}, self._board)

    def _served_board(self) -> Mapping[str, Any] | None:
        try:
            board: Mapping[str, Any] = self._api.dashboard.get_dashboard(self._board["uid"])["dashboard"]
        except GrafanaClientError as error:
            if error.status_code == _NOT_FOUND:
                return None
            raise
        return board

    def _variable(self, variable: Mapping[str, Any]) -> str:
        question = questions.of_variable(variable, self._board)
        answer = self._ask(question)
        complaint = answers.complaint_of_query(answer, question.ref_id)
        if complaint:
            return complaint
        found, wanted = answers.values_of(answer, question.ref_id), self._values[question.about]
        return "" if wanted in found else f"{wanted} is not among {', '.join(found)}"

    def _query(self, question: questions.Question) -> str:
        return answers.complaint_of_query(self._ask(question), question.ref_id)

    def _ask(self, question: questions.Question) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = self._api.client.POST("/ds/query", json=dict(question.body))
        return answer

    def _alarm(self, fall_silent: Callable[[], None]) -> Iterator[Check]:
        """See the rule at rest, then see it fire into a webhook of our own."""
        at_rest = Check("the rule rests while the server writes", _complaint_of(self._rests))
        yield at_rest
        if at_rest.complaint:
            return
        with Webhook() as webhook:
            contact = Check("a contact point can be made", self._notify(webhook.url))
            yield contact
            if contact.complaint:
                return
            fall_silent()
            yield Check("the rule fires into the webhook when the server falls silent", self._fires(webhook))

    def _rests(self) -> str:
        def is_evaluated() -> bool:
            found = self._rule()
            return found is not None and found.is_evaluated

        if not self._wait_until(is_evaluated, self._patience.evaluated_s):
            return f"there is no rule {self._rule_title}, or it was never evaluated"
        found = self._rule()
        assert found is not None
        return found.error or ("" if found.state == "inactive" else f"it is {found.state}")

    def _rule(self) -> answers.RuleState | None:
        return answers.state_of_rule(self._api.client.GET("/prometheus/grafana/api/v1/rules"), self._rule_title)

    def _notify(self, url: str) -> str:
        """Send all alarms of this organisation to `url`. A new organisation has no Alertmanager in its first minute."""
        complaint = "not tried"

        def is_taken() -> bool:
            nonlocal complaint
            complaint = _complaint_of(partial(self._route, url))
            return not complaint

        self._wait_until(is_taken, self._patience.contact_s)
        return complaint

    def _route(self, url: str) -> str:
        point = {"name": _CONTACT, "type": "webhook", "settings": {"url": url, "httpMethod": "POST"}}
        self._api.alertingprovisioning.create_contactpoint(point)
        policy = {"receiver": _CONTACT, "group_by": ["alertname"], "group_wait": "1s", "group_interval": "1m", "repeat_interval": "4h"}
        self._api.alertingprovisioning.set_notification_policy_tree(policy)
        return ""

    def _fires(self, webhook: Webhook) -> str:
        def has_fired() -> bool:
            return any(answers.is_firing(notification, self._rule_title) for notification in webhook.received)

        if self._wait_until(has_fired, self._patience.fired_s):
            return ""
        return f"not within {self._patience.fired_s:.0f} s; {len(webhook.received)} other notifications came"

    def _wait_until(self, is_so: Callable[[], bool], within_s: float) -> bool:
        give_up_at = time.monotonic() + within_s
        while not is_so():
            if time.monotonic() > give_up_at:
                return False
            time.sleep(self._patience.pause_s)
        return True


def _complaint_of(look: Callable[[], str]) -> str:
    """Look; what Grafana refuses, and its silence, are complaints too."""
    try:
        return look()
    except GrafanaException as error:
        # A query that fails comes as 400 with the answer as its body.
        return _errors_in(error.response) or str(error)
    except RequestException as error:
        return f"Grafana does not answer: {type(error).__name__}"


def _errors_in(body: object) -> str:
    results = body.get("results", {}) if isinstance(body, dict) else {}
    return "; ".join(str(result["error"]) for result in results.values() if "error" in result)

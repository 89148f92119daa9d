"""Grafana's HTTP API as far as the smoke uses it, on loopback; each organisation holds what it was given.

Source: Grafana HTTP API (Organization, Data source, Folder, Dashboard, Alerting provisioning), the same documents' examples;
a rule's state as pkg/services/ngalert/api/tooling/definitions/prom.go has it; the webhook's body as "Webhook notifier" has it.
"""

import base64
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

import httpx

MAIN_ORG: Final = 1
USER, PASSWORD = "admin", "a secret"
Answer = tuple[int, Any]
Ask = Callable[[Mapping[str, Any], str], dict[str, Any]]
"""Takes a query and the start of its span, such as `now-6h`; returns a result: `frames`, or `error`."""


def frame(*fields: tuple[str, str, list[Any]]) -> dict[str, Any]:
    """Return a data frame of fields, each with name, type and values."""
    schema = {"refId": "A", "fields": [{"name": name, "type": kind} for name, kind, _ in fields]}
    return {"schema": schema, "data": {"values": [values for *_, values in fields]}}


def one_row(query: Mapping[str, Any], start: str) -> dict[str, Any]:
    """Answer anything."""
    if query["query"].startswith("SHOW TAG VALUES"):
        return {"status": 200, "frames": [frame(("Value", "string", ["lumpini"]))]}
    return {"status": 200, "frames": [frame(("Time", "time", [1_000]), ("Value", "number", [1]))]}


@dataclass
class Org:
    """What one organisation holds."""

    sources: dict[str, Any] = field(default_factory=dict)
    folders: dict[str, Any] = field(default_factory=dict)
    boards: dict[str, Any] = field(default_factory=dict)
    rules: list[dict[str, Any]] = field(default_factory=list)
    contacts: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)


class FakeGrafana:
    """Listens while it is entered; its attributes are the ways in which it can be unwell."""

    def __init__(self, ask: Ask = one_row) -> None:
        """`ask` answers queries."""
        self.ask = ask
        self.orgs: Final = {MAIN_ORG: Org()}
        self.database = "ok"
        self.source_status, self.source_message = "OK", "datasource is working. 7 measurements found"
        self.rule_state, self.rule_health, self.last_evaluation = "inactive", "ok", "2026-01-02T03:04:05Z"
        self.is_notifying = True
        self.contacts_refused = 0
        """So many requests come before the organisation has an Alertmanager."""
        methods = dict.fromkeys(("do_GET", "do_POST", "do_PUT", "do_DELETE"), _Handler.serve)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"grafana": self, **methods}))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.url: Final = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def fire(self) -> None:
        """Let each rule fire into the contact point that its organisation's policy names."""
        for number, org in list(self.orgs.items()):
            contact = org.contacts.get(org.policy.get("receiver", ""))
            if contact and self.is_notifying:
                alerts = [{"status": "firing", "labels": {"alertname": rule["title"]}, "values": {"B": 0}} for rule in org.rules]
                body = {"receiver": contact["name"], "status": "firing", "orgId": number, "alerts": alerts, "version": "1"}
                httpx.post(contact["settings"]["url"], json=body, timeout=10).raise_for_status()

    def answer(self, method: str, path: str, org_id: int, body: Any) -> Answer:
        """Answer a request of somebody who may do everything."""
        if path == "/orgs" and method == "POST":
            made = max(self.orgs) + 1
            self.orgs[made] = Org()
            return 200, {"orgId": made, "message": "Organization created"}
        if found := re.fullmatch(r"/orgs/(\d+)", path):
            return (200, {"message": "Organization deleted"}) if self.orgs.pop(int(found[1]), None) else (404, {"message": "Not found"})
        org = self.orgs.get(org_id)
        if org is None:
            return 401, {"message": "Unauthorized"}
        return self._of_org(method, path, org, body)

    def _of_org(self, method: str, path: str, org: Org, body: Any) -> Answer:
        match method, path:
            case "GET", "/health":
                return 200, {"database": self.database, "version": "13.2.3", "commit": "0"}
            case "POST", "/datasources":
                org.sources[body["uid"]] = body
                return 200, {"datasource": body, "id": 1, "message": "Datasource added", "name": body["name"]}
            case "POST", "/folders":
                folder = {"uid": body.get("uid", f"made-{len(org.folders)}"), "title": body["title"]}
                org.folders[folder["uid"]] = folder
                return 200, folder
            case "POST", "/dashboards/db":
                org.boards[body["dashboard"]["uid"]] = body["dashboard"]
                return 200, {"status": "success", "uid": body["dashboard"]["uid"], "version": 1}
            case "POST", "/ds/query":
                return self._query(org, body)
            case _, _ if path.startswith("/v1/provisioning/"):
                return self._provisioning(method, path, org, body)
            case "GET", "/prometheus/grafana/api/v1/rules":
                return 200, {
                    "status": "success",
                    "data": {"groups": [{"name": "g", "file": "f", "rules": list(map(self._rule, org.rules))}]},
                }
        return self._by_uid(path, org)

    def _by_uid(self, path: str, org: Org) -> Answer:
        if found := re.fullmatch(r"/datasources/uid/([\w-]+)/health", path):
            if found[1] not in org.sources:
                return 404, {"message": "Data source not found"}
            return (200 if self.source_status == "OK" else 400), {"status": self.source_status, "message": self.source_message}
        if found := re.fullmatch(r"/dashboards/uid/([\w-]+)", path):
            board = org.boards.get(found[1])
            return (200, {"dashboard": board, "meta": {"provisioned": True}}) if board else (404, {"message": "Dashboard not found"})
        return 404, {"message": f"Not found: {path}"}

    def _provisioning(self, method: str, path: str, org: Org, body: Any) -> Answer:
        match method, path.removeprefix("/v1/provisioning"):
            case "POST", "/alert-rules" if body["folderUID"] in org.folders:
                org.rules.append(body)
                return 201, body
            case "POST", "/contact-points" if self.contacts_refused:
                self.contacts_refused -= 1
                return 404, {"message": "no Alertmanager of this organization"}
            case "POST", "/contact-points":
                org.contacts[body["name"]] = body
                return 202, {**body, "uid": "contact"}
            case "PUT", "/policies" if body["receiver"] in org.contacts:
                org.policy = body
                return 202, {"message": "policies updated"}
        return 400, {"message": "bad request data"}

    def _query(self, org: Org, body: Any) -> Answer:
        """As Grafana: 400 with the whole answer where a query fails."""
        results = {}
        for query in body["queries"]:
            if query["datasource"]["uid"] not in org.sources:
                return 404, {"message": "Data source not found"}
            results[query["refId"]] = self.ask(query, body["from"])
        return (400 if any("error" in result for result in results.values()) else 200), {"results": results}

    def _rule(self, rule: Mapping[str, Any]) -> dict[str, Any]:
        state = {"state": self.rule_state, "health": self.rule_health, "lastEvaluation": self.last_evaluation}
        return {"name": rule["title"], "query": "", "type": "alerting", **state}


class _Handler(BaseHTTPRequestHandler):
    grafana: FakeGrafana

    def serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        path = self.path.removeprefix("/api")
        code, answer = 401, {"message": "Invalid username or password"}
        if path == "/health" or self._is_known():
            code, answer = self.grafana.answer(self.command, path, int(self.headers.get("X-Grafana-Org-Id", MAIN_ORG)), body)
        payload = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def _is_known(self) -> bool:
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        return given == base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    def log_message(self, *_: object) -> None: ...

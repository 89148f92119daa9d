"""Makes a new InfluxDB 2 ready: buckets, the default retention policy, a token for this server and one for who only reads.

Source: InfluxDB 2.9 API, `/api/v2/{orgs,buckets,dbrps,authorizations}`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import httpx

from fleet_server.errors import Rejected
from fleet_server.telemetry.influx import InfluxTelemetry
from fleet_server.telemetry.promise import RETENTION_MS, Bucket, TelemetryUnavailable
from provisioning.files import SECRET, write_file

_TIMEOUT_S: Final = 20.0
_GROUP_READS: Final = 0o640
_WRITER: Final = "fleet server"
_READER: Final = "grafana"


class InfluxSetup:
    """Blocking. Everything may be done again: what is there stays as it is."""

    def __init__(self, url: str, *, org: str, operator_token: str) -> None:
        """`operator_token` may do everything; it is needed here only, never by the running server."""
        self._org = org
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Token {operator_token}"}, timeout=_TIMEOUT_S)

    def __enter__(self) -> "InfluxSetup":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.close()

    def prepare(self) -> None:
        """Make the organisation, the three buckets with their retention, and `hot` the default policy of database `fleet`.

        InfluxDB maps a bucket `fleet/hot` to database and policy by itself, but has no default then, and without one it
        answers no `SHOW …`, with which Grafana fills its variables. A bucket that exists keeps its retention.

        Raises:
            TelemetryUnavailable: it does not answer.
            Rejected: it refused; the message quotes it.
        """
        org_id = self._org_id()
        found = {b["name"]: str(b["id"]) for b in self._get("/api/v2/buckets", {"orgID": org_id, "limit": "100"})["buckets"]}
        for bucket in Bucket:
            if bucket.value not in found:
                rules = [{"type": "expire", "everySeconds": RETENTION_MS[bucket] // 1000}]
                made = self._post("/api/v2/buckets", {"orgID": org_id, "name": bucket.value, "retentionRules": rules})
                found[bucket.value] = str(made["id"])
        self._make_default(org_id, Bucket.HOT, found[Bucket.HOT.value])

    def new_token(self, name: str, *, may_write: bool) -> str:
        """Make a token for the three buckets; it can never be shown again. Older ones of the same name are revoked.

        Raises:
            TelemetryUnavailable, Rejected: see `prepare`.
        """
        org_id = self._org_id()
        buckets = self._get("/api/v2/buckets", {"orgID": org_id, "limit": "100"})["buckets"]
        ids = [str(bucket["id"]) for bucket in buckets if bucket["name"] in set(Bucket)]
        actions = ("read", "write") if may_write else ("read",)
        permissions = [{"action": a, "resource": {"type": "buckets", "orgID": org_id, "id": i}} for i in ids for a in actions]
        older = [a["id"] for a in self._get("/api/v2/authorizations", {"orgID": org_id})["authorizations"] if a["description"] == name]
        made = self._post("/api/v2/authorizations", {"orgID": org_id, "description": name, "permissions": permissions})
        for old in older:
            self._ask("DELETE", f"/api/v2/authorizations/{old}")
        return str(made["token"])

    def _make_default(self, org_id: str, bucket: Bucket, bucket_id: str) -> None:
        database, _, policy = bucket.value.partition("/")
        mappings: Sequence[Mapping[str, Any]] = self._get("/api/v2/dbrps", {"orgID": org_id, "db": database}).get("content", [])
        if not any(m["default"] and m["retention_policy"] == policy for m in mappings):
            mapping = {"orgID": org_id, "bucketID": bucket_id, "database": database, "retention_policy": policy, "default": True}
            self._post("/api/v2/dbrps", mapping)

    def _org_id(self) -> str:
        found = self._ask("GET", "/api/v2/orgs", parameters={"org": self._org}, missing_ok=True).get("orgs", [])
        return str(found[0]["id"] if found else self._post("/api/v2/orgs", {"name": self._org})["id"])

    def _get(self, path: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        return self._ask("GET", path, parameters=parameters)

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._ask("POST", path, body=body)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        missing_ok: bool = False,
    ) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, params=parameters, json=body)
        except httpx.HTTPError as error:
            raise TelemetryUnavailable(f"InfluxDB does not answer: {type(error).__name__}") from error
        if missing_ok and response.status_code == httpx.codes.NOT_FOUND:
            return {}
        if response.is_error:
            raise Rejected(f"InfluxDB refused {method} {path}: {response.status_code} {response.text[:200].strip()}")
        answer: dict[str, Any] = response.json() if response.content else {}
        return answer


def prepare_influxdb(url: str, *, org: str, operator_token: str, token_file: Path, reader_token_file: Path | None) -> list[str]:
    """Make InfluxDB ready and leave tokens in files: ours (0600), and a reader's (0640). A token that works is kept.

    Returns:
        What was done, in sentences.

    Raises:
        TelemetryUnavailable: InfluxDB does not answer.
        Rejected: it refused, or a file cannot be written.
    """
    with InfluxSetup(url, org=org, operator_token=operator_token) as setup:
        setup.prepare()
        done = [f"InfluxDB at {url} has the buckets {', '.join(Bucket)}."]
        files = [(token_file, _WRITER, SECRET)]
        if reader_token_file is not None:
            files.append((reader_token_file, _READER, _GROUP_READS))
        for path, name, mode in files:
            if not _works(url, org, path):
                write_file(path, setup.new_token(name, may_write=name == _WRITER).encode(), mode)
                done.append(f"A new token of {name} is in {path}.")
    return done


def _works(url: str, org: str, token_file: Path) -> bool:
    if not token_file.exists():
        return False
    store = InfluxTelemetry(url, org=org, token=token_file.read_text().strip())
    try:
        store.ping()
    except TelemetryUnavailable:
        return False
    finally:
        store.close()
    return True

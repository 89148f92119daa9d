"""InfluxDB 2: ready line protocol through influxdb-client's synchronous writer, InfluxQL through its v1-compatible `/query`."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, cast

import httpx
import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException

from fleet_server.telemetry.promise import Bucket, PartlyRejected, Point, TelemetryUnavailable, TooLarge, Value

_TIMEOUT_S: Final = 20.0
_MS = cast("WritePrecision", WritePrecision.MS)
_LINE_AT_FAULT: Final = frozenset({400, 422})


class InfluxTelemetry:
    """See `TelemetryStore`. The three buckets must exist; `down` and `too slow` look the same, and both are waited out."""

    def __init__(self, url: str, *, org: str, token: str, timeout_s: float = _TIMEOUT_S) -> None:
        """`url` without a path, such as `http://127.0.0.1:8086`; nothing is connected yet."""
        self._org = org
        self._client = InfluxDBClient(url=url, token=token, org=org, timeout=int(timeout_s * 1000))
        self._writer = self._client.write_api(write_options=SYNCHRONOUS)
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Token {token}"}, timeout=timeout_s)

    def write(self, bucket: Bucket, lines: Sequence[bytes]) -> None:
        """See `TelemetryStore`."""
        try:
            self._writer.write(bucket=bucket.value, org=self._org, record=b"\n".join(lines), write_precision=_MS)
        except ApiException as error:
            raise _translated(error) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise TelemetryUnavailable(f"InfluxDB does not answer: {type(error).__name__}") from error

    def query(
        self, bucket: Bucket, measurement: str, *, from_ms: int, to_ms: int, tags: Mapping[str, str] = MappingProxyType({})
    ) -> list[Point]:
        """See `TelemetryStore`."""
        where = "".join(f' AND "{_name(key)}" = {_literal(value)}' for key, value in tags.items())
        query = (
            f'SELECT * FROM "{_name(measurement)}" WHERE time >= {int(from_ms)}ms AND time < {int(to_ms)}ms{where} '  # noqa: S608  # escaped here
            "GROUP BY * ORDER BY time"
        )
        points = [point for found in self._series(bucket, query) for point in _points(found)]
        return sorted(points, key=lambda point: (point.at_ms, sorted(point.tags.items())))

    def _series(self, bucket: Bucket, query: str) -> list[dict[str, Any]]:
        database, _, policy = bucket.value.partition("/")
        answer = self._get("/query", {"db": database, "rp": policy, "epoch": "ms", "q": query}).json()
        result = answer["results"][0]
        if "error" in result:
            raise TelemetryUnavailable(f"InfluxDB cannot answer: {result['error']}")
        return cast("list[dict[str, Any]]", result.get("series", []))

    def ping(self) -> None:
        """See `TelemetryStore`; also says whether the token and the buckets are right."""
        found = self._get("/api/v2/buckets", {"org": self._org, "limit": "100"}).json().get("buckets", [])
        missing = sorted(set(Bucket) - {bucket["name"] for bucket in found})
        if missing:
            raise TelemetryUnavailable(f"InfluxDB has no bucket {', '.join(missing)} that we may see")

    def _get(self, path: str, parameters: Mapping[str, str]) -> httpx.Response:
        try:
            response = self._http.get(path, params=dict(parameters))
        except httpx.HTTPError as error:
            raise TelemetryUnavailable(f"InfluxDB does not answer: {type(error).__name__}") from error
        if response.is_error:
            raise TelemetryUnavailable(f"InfluxDB answers {response.status_code}: {response.text[:200]}")
        return response

    def purge(self, now_ms: int) -> int:
        """InfluxDB does so by itself, as its buckets say."""
        return 0

    def close(self) -> None:
        """See `TelemetryStore`."""
        self._writer.close()  # type: ignore[no-untyped-call]  # the library has no types there
        self._client.close()  # type: ignore[no-untyped-call]  # the library has no types there
        self._http.close()


def _translated(error: ApiException) -> PartlyRejected | TooLarge | TelemetryUnavailable:
    status = error.status or 0
    said = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else str(error.body or error.reason or "")
    if status in _LINE_AT_FAULT:
        return PartlyRejected(f"{status}: {said[:300]}")
    if status == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
        return TooLarge(f"{status}: {said[:300]}")
    # 401, 403 and 404 too: a wrong token or a missing bucket is no fault of the lines, and somebody will put it right.
    return TelemetryUnavailable(f"InfluxDB answers {status}: {said[:200]}")


def _points(found: dict[str, Any]) -> list[Point]:
    tags = {key: value for key, value in found.get("tags", {}).items() if value}
    names: list[str] = found["columns"]
    points = []
    for row in found["values"]:
        values: dict[str, Value] = {name: value for name, value in zip(names, row, strict=True) if name != "time" and value is not None}
        points.append(Point(tags, int(row[names.index("time")]), values))
    return points


def _name(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"')


def _literal(value: str) -> str:
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{quoted}'"

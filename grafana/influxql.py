"""InfluxQL in a board. The foundation SDK has no query type for InfluxDB."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Self

from grafana_foundation_sdk.cog import runtime
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import DataSourceRef

DATA_SOURCE_TYPE: Final = "influxdb"
DATA_SOURCE_UID: Final = "fleet-influxdb"
"""As `provisioning/datasources/influxdb.yaml` names it."""


class ResultFormat(StrEnum):
    """What Grafana makes of the rows.

    With `TABLE`, group by no more than one tag, or take tags as columns from a subquery: Grafana's backend puts several
    tags into its columns in an order that may change from row to row.
    Source: grafana/grafana, pkg/tsdb/influxdb/influxql/converter, `handleTableFormatTagFields` (it ranges over a Go map).
    """

    TIME_SERIES = "time_series"
    TABLE = "table"


class InfluxQL(Dataquery, Builder[Dataquery]):
    """One raw query. Its own builder, since nothing is left to build."""

    def __init__(self, query: str, *, ref_id: str = "A", alias: str = "", result_format: ResultFormat = ResultFormat.TIME_SERIES) -> None:
        """`alias` names the series of a time series, such as `$tag_position`."""
        self.query: Final = query
        self.ref_id: Final = ref_id
        self.alias: Final = alias
        self.result_format: Final = result_format

    def build(self) -> Dataquery:
        """Return itself."""
        return self

    def to_json(self) -> dict[str, object]:
        """Return what the board's JSON holds."""
        payload: dict[str, object] = {
            "datasource": {"type": DATA_SOURCE_TYPE, "uid": DATA_SOURCE_UID},
            "refId": self.ref_id,
            "query": self.query,
            "rawQuery": True,
            "resultFormat": self.result_format.value,
        }
        return payload | ({"alias": self.alias} if self.alias else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read it back; a key that is not one of ours is lost, which a test would see."""
        return cls(data["query"], ref_id=data["refId"], alias=data.get("alias", ""), result_format=ResultFormat(data["resultFormat"]))


def select(fields: str, source: str, *, where: str = "", group_by: str = "", rest: str = "") -> str:
    """Put a query together; `source` is a measurement with its retention policy, or a query in parentheses."""
    parts = ("SELECT", fields, "FROM", source, where and f"WHERE {where}", group_by and f"GROUP BY {group_by}", rest)
    return " ".join(part for part in parts if part)


def data_source() -> DataSourceRef:
    """Return the reference to the fleet's data source."""
    return DataSourceRef(type_val=DATA_SOURCE_TYPE, uid=DATA_SOURCE_UID)


def register() -> None:
    """Let the SDK read these queries back from JSON."""
    runtime.register_dataquery_variant(runtime.DataqueryConfig(identifier=DATA_SOURCE_TYPE, from_json_hook=InfluxQL.from_json))

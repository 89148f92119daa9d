"""Give a Grafana that already runs what its provisioning files would give it: in an organisation of our own, over its API."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

HOUSE: Final = Path(__file__).parents[1]
FILES: Final = HOUSE / "provisioning"


def committed_board() -> dict[str, Any]:
    """Return the station's board as committed."""
    board: dict[str, Any] = json.loads((HOUSE / "boards" / "station.json").read_text(encoding="utf-8"))
    return board


def committed_group() -> dict[str, Any]:
    """Return the one group of alert rules as committed."""
    return _only("alerting/fleet-server.yaml", "groups")


def install(api: Any, *, influxdb_url: str, token: str) -> None:
    """Make data source, folders, board and alert rules. `api` is a `GrafanaApi` of an empty organisation.

    A group that is made rule by rule is evaluated once a minute, Grafana's default and what our file says.

    Raises:
        GrafanaException: Grafana refuses.
    """
    source = _only("datasources/influxdb.yaml", "datasources")
    header = source["secureJsonData"]["httpHeaderValue1"].replace("$__file{/run/fleet/influxdb}", token)
    api.datasource.create_datasource(source | {"url": influxdb_url, "secureJsonData": {"httpHeaderValue1": header}})
    provider = _only("dashboards/fleet.yaml", "providers")
    api.folder.create_folder(provider["folder"], uid=provider["folderUid"])
    api.dashboard.update_dashboard({"dashboard": committed_board(), "folderUid": provider["folderUid"], "overwrite": True})
    group = committed_group()
    folder_uid = api.folder.create_folder(group["folder"])["uid"]
    for rule in group["rules"]:
        api.alertingprovisioning.create_alertrule(rule | {"folderUID": folder_uid, "ruleGroup": group["name"]})


def _only(path: str, key: str) -> dict[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load((FILES / path).read_text(encoding="utf-8"))
    (one,) = found[key]
    return dict(one)

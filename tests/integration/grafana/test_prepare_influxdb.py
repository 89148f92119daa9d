"""A new InfluxDB is made ready, again and again, and each token can do what it is for."""

import stat
from pathlib import Path

import httpx
import pytest

from fleet_server.errors import Rejected
from fleet_server.telemetry.influx import InfluxTelemetry
from fleet_server.telemetry.influx_setup import InfluxSetup, prepare_influxdb
from fleet_server.telemetry.promise import RETENTION_MS, Bucket, TelemetryUnavailable
from tests.servers.influxdb import InfluxServer
from tests.servers.process import free_port

ORG = "a-new-fleet"


@pytest.fixture
def new_org(influxdb_server: InfluxServer) -> str:
    """The name of an organisation that is not there."""
    operator = httpx.Client(base_url=influxdb_server.url, headers={"Authorization": f"Token {influxdb_server.operator_token}"})
    with operator:
        for org in operator.get("/api/v2/orgs").json()["orgs"]:
            if org["name"] == ORG:
                operator.delete(f"/api/v2/orgs/{org['id']}")
    return ORG


def prepare(server: InfluxServer, folder: Path) -> list[str]:
    return prepare_influxdb(
        server.url, org=ORG, operator_token=server.operator_token, token_file=folder / "token", reader_token_file=folder / "reader"
    )


def test_from_nothing_to_written_and_read(influxdb_server: InfluxServer, new_org: str, tmp_path: Path) -> None:
    assert len(prepare(influxdb_server, tmp_path)) == 3
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "reader").stat().st_mode) == 0o640
    writer = InfluxTelemetry(influxdb_server.url, org=new_org, token=(tmp_path / "token").read_text())
    reader = InfluxTelemetry(influxdb_server.url, org=new_org, token=(tmp_path / "reader").read_text())
    now_ms = 4_000_000_000_000  # not too old for any retention
    for bucket in Bucket:
        writer.ping()
        writer.write(bucket, [b"m,station=s x=1i %d" % now_ms])
        assert len(reader.query(bucket, "m", from_ms=now_ms, to_ms=now_ms + 1)) == 1
        with pytest.raises(TelemetryUnavailable, match=r"401|403|404"):
            reader.write(bucket, [b"m x=1i %d" % now_ms])
    writer.close()
    reader.close()


def test_tokens_that_work_are_kept_and_others_are_replaced(influxdb_server: InfluxServer, new_org: str, tmp_path: Path) -> None:
    prepare(influxdb_server, tmp_path)
    before = (tmp_path / "token").read_text()
    assert len(prepare(influxdb_server, tmp_path)) == 1, "nothing was left to do"
    assert (tmp_path / "token").read_text() == before
    (tmp_path / "token").write_text("lost")
    prepare(influxdb_server, tmp_path)
    assert (tmp_path / "token").read_text() not in (before, "lost")
    old = InfluxTelemetry(influxdb_server.url, org=new_org, token=before)
    with pytest.raises(TelemetryUnavailable, match="401"):
        old.ping()
    old.close()


def test_buckets_forget_as_the_server_says_and_one_policy_is_the_default(
    influxdb_server: InfluxServer, new_org: str, tmp_path: Path
) -> None:
    prepare(influxdb_server, tmp_path)
    with httpx.Client(base_url=influxdb_server.url, headers={"Authorization": f"Token {influxdb_server.operator_token}"}) as operator:
        found = operator.get("/api/v2/buckets", params={"org": new_org}).json()["buckets"]
        rules = {bucket["name"]: bucket["retentionRules"][0]["everySeconds"] * 1000 for bucket in found if bucket["type"] == "user"}
        policies = operator.get("/api/v2/dbrps", params={"org": new_org, "db": "fleet"}).json()["content"]
    assert rules == {bucket.value: RETENTION_MS[bucket] for bucket in Bucket}
    assert {policy["retention_policy"]: policy["default"] for policy in policies} == {"hot": True, "cold": False, "events": False}


def test_wrong_operator_token_is_said(influxdb_server: InfluxServer, tmp_path: Path) -> None:
    with InfluxSetup(influxdb_server.url, org=ORG, operator_token="wrong") as setup, pytest.raises(Rejected, match="401"):
        setup.prepare()


def test_influxdb_that_is_away_is_said() -> None:
    setup = InfluxSetup(f"http://127.0.0.1:{free_port()}", org=ORG, operator_token="t")
    with setup, pytest.raises(TelemetryUnavailable, match="does not answer"):
        setup.prepare()

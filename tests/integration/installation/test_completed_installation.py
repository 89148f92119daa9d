"""`fleet init --if-missing`: an installation is completed, never made twice; and what leaves it for a broker holds no key of a CA."""

from pathlib import Path

import pytest

from fleet_server.errors import Conflict
from fleet_server.installation.broker import export_broker
from fleet_server.installation.making import Installed, make
from fleet_server.installation.plan import CORE_KEY, SERVER_CHAIN, Plan
from fleet_server.settings import load_settings
from provisioning import ca
from provisioning.broker.promise import BrokerFiles

EXTERNAL = '[broker]\nmode = "external"\nhost = "{host}"\nport = 8884\nexport_dir = "broker"\n'


def plan(data: Path, **changes: object) -> Plan:
    fixed: dict[str, object] = {"organisation": "Test", "host": "127.0.0.1", "http_port": 8080, "est_port": 8443, "mqtt_port": 8883}
    return Plan(data=data, **(fixed | changes))  # type: ignore[arg-type]  # the fields are given by name


def again(data: Path, **changes: object) -> Installed:
    return make(plan(data, if_missing=True, **changes))


def test_second_time_changes_nothing_and_gives_no_second_link(tmp_path: Path) -> None:
    first = make(plan(tmp_path / "fleet"))
    assert first.link is not None
    before = {path: path.read_bytes() for path in (tmp_path / "fleet").rglob("*.pem")}
    assert again(tmp_path / "fleet").link is None
    assert {path: path.read_bytes() for path in before} == before
    with pytest.raises(Conflict):
        make(plan(tmp_path / "fleet"))


def test_given_settings_take_the_place_of_the_old(tmp_path: Path) -> None:
    make(plan(tmp_path))
    again(tmp_path, settings='[fleet]\nname = "Another"\n')
    assert load_settings(tmp_path / "fleet.toml").fleet.name == "Another"
    again(tmp_path)
    assert load_settings(tmp_path / "fleet.toml").fleet.name == "Another", "none were given: they stay"


def test_offline_root_signs_and_the_rest_is_made(tmp_path: Path) -> None:
    data = tmp_path / "fleet"
    ca.init_root(tmp_path / "root", "Test", passphrase=b"a long passphrase")
    made = make(plan(data, local_root=False))
    assert not made.is_signed
    assert any("--signed" in sentence for sentence in made.sentences())
    assert not again(data).is_signed, "asked too early, it waits"
    ca.sign_issuing(tmp_path / "root", data / "pki" / "requests", passphrase=b"a long passphrase")
    ca.import_issuing(data / "pki", data / "pki" / "requests")
    assert again(data).is_signed
    assert (data / SERVER_CHAIN).exists()
    assert (data / CORE_KEY).exists()


def test_outside_broker_gets_no_key_of_a_ca(tmp_path: Path) -> None:
    again(tmp_path, settings=EXTERNAL.format(host="broker"), also_hosts=("broker",))
    exported = tmp_path / "broker"
    keys = [path.relative_to(exported) for path in exported.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert keys == [Path("server/key.pem")]
    files = BrokerFiles(certificate=exported / "server/chain.pem", key=exported / "server/key.pem", pki=exported / "pki")
    config = (exported / "mosquitto.conf").read_text()
    for path in (files.certificate, files.key, files.devices, files.clients, files.device_crl, files.service_crl):
        assert path.is_file()
        assert str(path) in config
    assert "listener 8883 0.0.0.0" in config
    assert "listener 8884 0.0.0.0" in config, "the server comes from another machine"


def test_servers_own_listener_is_where_it_connects(tmp_path: Path) -> None:
    again(tmp_path, settings=EXTERNAL.format(host="127.0.0.1"))
    assert "listener 8884 127.0.0.1" in (tmp_path / "broker" / "mosquitto.conf").read_text()


def test_nothing_is_exported_unasked(tmp_path: Path) -> None:
    make(plan(tmp_path))
    export_broker(load_settings(tmp_path / "fleet.toml"), tmp_path)
    assert not (tmp_path / "broker").exists()

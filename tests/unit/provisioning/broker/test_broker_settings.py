"""Settings of the embedded broker are read strictly; Mosquitto's files are what the tests of the wall start it with."""

from pathlib import Path

import pytest

from provisioning.broker.embedded.settings import load_settings
from provisioning.broker.mosquitto import MosquittoSetup
from provisioning.broker.promise import BrokerFiles, Endpoint
from provisioning.errors import Missing, Rejected

TOML = """
certificate_file = "chain.pem"
key_file = "key.pem"
trust_file = "clients.pem"
device_ca_files = ["device-ca.pem"]
service_ca_files = ["service-ca.pem"]
crl_file = "all.crl.pem"
"""


def test_toml_and_json_are_read(tmp_path: Path) -> None:
    (tmp_path / "broker.toml").write_text(TOML)
    settings = load_settings(tmp_path / "broker.toml")
    assert (settings.port, settings.max_packet_bytes) == (8883, 131_072)
    (tmp_path / "broker.json").write_text(
        '{"certificate_file":"chain.pem","key_file":"key.pem","trust_file":"clients.pem","device_ca_files":["device-ca.pem"],'
        '"service_ca_files":["service-ca.pem"],"crl_file":"all.crl.pem"}'
    )
    assert load_settings(tmp_path / "broker.json") == settings


@pytest.mark.parametrize("bad", ["port = 99999", "prot = 1", "connect_timeout_s = 0", "max_packet_bytes = 10", "port = "])
def test_a_bad_key_is_named(tmp_path: Path, bad: str) -> None:
    (tmp_path / "broker.toml").write_text(f"{bad}\n{TOML}")
    with pytest.raises(Rejected, match=r"broker\.toml"):
        load_settings(tmp_path / "broker.toml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"none\.toml"):
        load_settings(tmp_path / "none.toml")


def test_each_listener_of_mosquitto_trusts_one_ca_by_its_list(tmp_path: Path) -> None:
    files = BrokerFiles(Path("/pki/server/chain.pem"), Path("/pki/server/key.pem"), Path("/pki"))
    setup = MosquittoSetup(files=files, folder=Path("/broker"), devices=Endpoint("0.0.0.0", 8883), core=Endpoint("127.0.0.1", 8884))
    texts = {path.name: text for path, text in setup.texts().items()}
    assert texts["devices.acl"].splitlines() == [
        "pattern write ssz/1/%u/up/status",
        "pattern write ssz/1/%u/up/heartbeat",
        "pattern write ssz/1/%u/up/replay",
        "pattern write ssz/1/%u/up/event",
        "pattern write ssz/1/%u/up/reported",
        "pattern write ssz/1/%u/up/result",
        "pattern read ssz/1/%u/down/#",
    ]
    assert texts["core.acl"] == "user svc-core\ntopic readwrite ssz/1/#\n"
    general, devices, core = texts["mosquitto.conf"].split("listener ")[0], *texts["mosquitto.conf"].split("\nlistener ")[1:]
    assert "per_listener_settings true" in general
    assert "max_packet_size 131072" in general
    assert devices.startswith("8883 0.0.0.0\n")
    assert "crlfile /pki/crl/device-ca.crl.pem" in devices
    assert "acl_file /broker/devices.acl" in devices
    assert core.startswith("8884 127.0.0.1\n")
    assert "crlfile /pki/crl/service-ca.crl.pem" in core
    assert "acl_file /broker/core.acl" in core
    for listener in (devices, core):
        assert {
            "require_certificate true",
            "use_identity_as_username true",
            "use_username_as_clientid true",
            "allow_anonymous false",
        } <= set(listener.splitlines())

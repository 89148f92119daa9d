"""What can be said of the Compose file and the Dockerfiles without a container engine."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no annotations

from fleet_server.settings import BrokerMode, TelemetryMode, load_settings
from tests.compose_file import ROOT, load

PROJECT = load()
SERVICES: dict[str, Any] = PROJECT["services"]
ONE_SHOT = {"prepare", "register-node"}
DOCKERFILES = [ROOT / "fleet_server" / "Dockerfile", ROOT / "firmware_agent" / "Dockerfile"]


def test_file_is_what_the_specification_says() -> None:
    schema = json.loads((ROOT / ".ci" / "compose-spec.json").read_text())
    Draft202012Validator.check_schema(schema)
    raw = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    faults = [f"{fault.json_path}: {fault.message}" for fault in Draft202012Validator(schema).iter_errors(raw)]
    assert faults == []


def test_schema_finds_a_misspelt_key() -> None:
    schema = json.loads((ROOT / ".ci" / "compose-spec.json").read_text())
    wrong = {"services": {"x": {"image": "x", "heathcheck": {}}}}
    assert list(Draft202012Validator(schema).iter_errors(wrong))


def test_it_holds_what_was_promised() -> None:
    images = {service["image"] for service in SERVICES.values()}
    for wanted in ("eclipse-mosquitto:2.0.", "influxdb:2.9.1", "postgres:", "grafana/grafana:13.", "smart-safety-zone/fleet:"):
        assert any(image.startswith(wanted) for image in images), wanted
    assert SERVICES["node"]["profiles"] == ["simulated"], "nobody gets a simulated node unasked"


@pytest.mark.parametrize("name", SERVICES)
class TestService:
    def test_image_is_pinned(self, name: str) -> None:
        assert re.fullmatch(r"[a-z0-9./-]+:\d+\.\d+\.?\d*[a-z0-9.-]*", SERVICES[name]["image"])

    def test_process_is_not_root_and_can_gain_nothing(self, name: str) -> None:
        service = SERVICES[name]
        user, group = service["user"].split(":")
        assert int(user) > 0
        assert int(group) > 0
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is True
        assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(service)
        assert "docker.sock" not in json.dumps(service)

    def test_it_says_whether_it_is_well(self, name: str) -> None:
        if name in ONE_SHOT:
            assert SERVICES[name]["restart"] == "no"
        else:
            assert SERVICES[name]["restart"] == "unless-stopped"
            assert SERVICES[name]["healthcheck"]["test"]

    def test_secrets_are_files(self, name: str) -> None:
        for key, value in SERVICES[name].get("environment", {}).items():
            if re.search("password|token|secret", key, re.IGNORECASE):
                assert key.endswith("_FILE"), key
                assert value.removeprefix("/run/secrets/") in SERVICES[name]["secrets"]

    def test_what_it_names_is_there(self, name: str) -> None:
        service = SERVICES[name]
        assert set(service.get("secrets", [])) <= set(PROJECT["secrets"])
        assert {config["source"] for config in service.get("configs", [])} <= set(PROJECT["configs"])
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in PROJECT["volumes"], mount
        for other, condition in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
            assert condition["condition"] in (wanted, "service_started"), other
            assert other in SERVICES

    def test_ports_are_for_this_machine_but_those_of_nodes(self, name: str) -> None:
        for port in SERVICES[name].get("ports", []):
            assert port.startswith("127.0.0.1:") or port in ("8443:8443", "8883:8883"), port


def test_every_secret_is_a_file_outside_of_git() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    for name, secret in PROJECT["secrets"].items():
        assert secret["file"] == f"./var/compose/secrets/{name}"
    assert "var/" in ignored


def test_settings_are_ones_the_server_takes(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text(PROJECT["configs"]["fleet.toml"]["content"])
    settings = load_settings(path)
    assert settings.broker.mode is BrokerMode.EXTERNAL
    assert settings.telemetry.mode is TelemetryMode.INFLUXDB
    assert settings.fleet.is_demo is False
    assert settings.database.password_file == "/run/secrets/postgres_password"
    assert SERVICES["broker"]["volumes"] == [f"broker:{settings.broker.export_dir}"]
    assert SERVICES["broker"]["entrypoint"][-1] == settings.broker.export_dir
    assert settings.broker.host in SERVICES
    assert settings.http.port == 8080
    assert settings.est.port == 8443


def test_keys_of_the_cas_stay_with_the_server() -> None:
    for name in ("broker", "node", "grafana", "postgres", "influxdb"):
        assert not any(mount.startswith("fleet:") for mount in SERVICES[name]["volumes"]), name
    assert not any(mount.startswith("broker:") and not mount.endswith(":ro") for mount in SERVICES["node"]["volumes"])


def test_grafana_finds_its_files() -> None:
    mounts = dict(mount.removesuffix(":ro").split(":") for mount in SERVICES["grafana"]["volumes"])
    assert mounts["./grafana/boards"] == "/etc/grafana/boards"
    source = yaml.safe_load((ROOT / "grafana/provisioning/datasources/influxdb.yaml").read_text())["datasources"][0]
    token = re.search(r"\$__file\{(.*)\}", source["secureJsonData"]["httpHeaderValue1"])
    assert token is not None
    folder, _, file = token[1].rpartition("/")
    assert mounts["grafana-token"] == folder
    assert f"--reader-token-file /srv/grafana-token/{file}" in SERVICES["prepare"]["command"][-1]
    assert source["url"] == "${INFLUXDB_URL}"
    assert SERVICES["grafana"]["environment"]["INFLUXDB_URL"] == "http://influxdb:8086"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
class TestDockerfile:
    def test_two_stages_on_one_pinned_base(self, path: Path) -> None:
        bases = re.findall(r"^FROM (\S+)", path.read_text(), re.MULTILINE)
        assert len(bases) == 2
        assert len(set(bases)) == 1
        assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases[0])

    def test_what_is_installed_is_locked_by_hash(self, path: Path) -> None:
        for install in re.findall(r"pip install [^&\n]*", path.read_text()):
            assert "--require-hashes" in install or ("--no-deps" in install and "--no-index" in install), install
        for locked in re.findall(r"\.ci/requirements/\S+\.txt", path.read_text()):
            text = (ROOT / locked).read_text()
            assert text.count("==") <= text.count("--hash=sha256:"), locked

    def test_it_runs_as_the_user_that_compose_names(self, path: Path) -> None:
        assert re.findall(r"^USER (\S+)", path.read_text(), re.MULTILINE) == ["10001:10001"]
        assert "--uid 10001" in path.read_text()

    def test_what_it_copies_is_not_ignored(self, path: Path) -> None:
        allowed = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
        packages = re.search(r"packages = \[(.*)\]", (ROOT / "pyproject.toml").read_text())
        assert packages is not None
        wheel = set(re.findall(r'"(\w+)"', packages[1]))
        assert wheel | {"pyproject.toml", "README.md", "LICENSE", ".ci/requirements"} == allowed


def test_a_users_files_never_reach_an_image() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert next(line for line in lines if not line.startswith("#")) == "*"
    assert not any(line.startswith(("!var", "!secrets", "!.git", "!tests")) for line in lines)


def test_volumes_of_the_images_user_exist_in_them() -> None:
    """An empty named volume takes owner and rights of the folder it is mounted on; one that is not in the image is root's."""
    text = DOCKERFILES[0].read_text()
    for name, service in SERVICES.items():
        for mount in service.get("volumes", []):
            target = mount.split(":")[1]
            if service["image"].startswith("smart-safety-zone/fleet"):
                assert target in text, (name, target)

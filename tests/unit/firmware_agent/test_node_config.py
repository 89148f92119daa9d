"""The node's configuration is read strictly; the example is held to the code."""

from pathlib import Path

import msgspec
import pytest

from firmware_agent.config import Config, load_config
from firmware_agent.errors import ConfigurationError

EXAMPLE = Path(__file__).parents[3] / "firmware_agent" / "node.example.toml"


def test_example_shows_every_field_with_its_default() -> None:
    shown = msgspec.toml.decode(EXAMPLE.read_bytes())
    default = msgspec.to_builtins(Config())
    assert [c["channel"] for c in shown.pop("channel")] == ["cam-1", "btn-1"]
    assert default.pop("channel") == []
    assert default.pop("clock") == {"assume": None}
    assert shown.pop("clock") == {}
    assert "# assume = " in EXAMPLE.read_text()
    assert default.pop("base") == "."
    assert shown == default


def test_example_is_read() -> None:
    config = load_config(EXAMPLE)
    assert config.data_dir == EXAMPLE.parent
    assert config.ca_file == EXAMPLE.parent / "identity" / "ca.pem"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[server]\nmqtt_port = 70000", "server.mqtt_port"),
        ("[server]\nmqtt_prt = 1", "mqtt_prt"),
        ("[heartbeat]\ninterval_s = 0.1", "heartbeat.interval_s"),
        ("[clock]\nassume = 'guess'", "clock.assume"),
        ("[[channel]]\nchannel = 'cam-1'\nkind = 'fridge'\ndriver = 'x'", "kind"),
        ("[[channel]]\nchannel = 'Cam 1'\nkind = 'camera'\ndriver = 'x'", r"channel\[0\].channel"),
        ("[[channel]]\nchannel = 'a'\nkind = 'camera'\ndriver = 'x'\n" * 2, "a stands more than once"),
        ("[[channel]]\nchannel = 'a'", "kind"),
        ("not toml", "node.toml"),
        ("\xff", "node.toml"),
    ],
)
def test_mistake_is_named(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "node.toml"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigurationError, match=says):
        load_config(file)


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=name if name != "." else "read"):
        load_config(tmp_path / name)


def test_paths_count_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text('[node]\ndata_dir = "data"\nstatus_file = "/run/x.json"\n[server]\nca_file = "ca.pem"')
    config = load_config(tmp_path / "node.toml")
    assert (config.data_dir, config.status_file, config.ca_file) == (tmp_path / "data", Path("/run/x.json"), tmp_path / "ca.pem")

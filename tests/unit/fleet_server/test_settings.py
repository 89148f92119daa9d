"""Settings are read strictly, and the example shows all of them."""

from pathlib import Path

import msgspec
import pytest

from fleet_server.settings import BadSettings, Settings, database_url, load_settings

EXAMPLE = Path(__file__).parents[3] / "fleet_server" / "fleet.example.toml"


def test_example_shows_every_field_with_its_default() -> None:
    assert load_settings(EXAMPLE) == Settings()
    shown = msgspec.toml.decode(EXAMPLE.read_bytes())
    assert shown == msgspec.to_builtins(Settings())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[http]\nport = 70000", "port"),
        ("[http]\nprot = 1", "prot"),
        ("[broker]\nmode = 'rabbit'", "mode"),
        ("[supervision]\ncamera_s = 0", "camera_s"),
        ("not toml", "fleet.toml"),
    ],
)
def test_mistake_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    with pytest.raises(BadSettings, match=says):
        load_settings(path)


def test_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="fleet init"):
        load_settings(tmp_path / "fleet.toml")


def test_relative_database_is_beside_the_settings(tmp_path: Path) -> None:
    assert database_url(Settings(), tmp_path) == f"sqlite:///{tmp_path}/fleet.db"


def test_password_comes_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p@ss\n")
    text = b'[database]\nurl = "postgresql+psycopg://fleet@db/fleet"\npassword_file = "password"'
    settings = msgspec.toml.decode(text, type=Settings)
    assert database_url(settings, tmp_path) == "postgresql+psycopg://fleet:p%40ss@db/fleet"

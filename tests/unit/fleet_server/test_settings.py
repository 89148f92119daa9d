"""Settings are read strictly, and the example shows all of them."""

from pathlib import Path

import msgspec
import pytest

from fleet_server.settings import BadSettings, HttpSection, Settings, database_url, load_settings

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
        ("[http]\npublic_url = 'fleet.example'", "public_url"),
        ("[http]\npublic_url = 'HTTPS://fleet.example'", "public_url"),
        ("[http]\npublic_url = 'https://fleet.example/'", "public_url"),
        ("[broker]\nmode = 'rabbit'", "mode"),
        ("[supervision]\ncamera_s = 0", "camera_s"),
        ("[retention]\nchanges_days = 0", "changes_days"),
        ("not toml", "fleet.toml"),
    ],
)
def test_mistake_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    with pytest.raises(BadSettings, match=says):
        load_settings(path)


@pytest.mark.parametrize(
    ("http", "is_overheard"),
    [
        (HttpSection(), False),
        (HttpSection(host="::1", public_url="http://[::1]:8080"), False),
        (HttpSection(host="0.0.0.0", public_url="http://localhost:8080"), False),
        (HttpSection(host="0.0.0.0", public_url="https://fleet.example"), False),
        (HttpSection(host="0.0.0.0", certificate_file="chain.pem", key_file="key.pem"), False),
        (HttpSection(host="0.0.0.0"), True),
        (HttpSection(public_url="http://fleet.example"), True),
    ],
)
def test_passwords_in_the_clear_are_known(http: HttpSection, is_overheard: bool) -> None:
    assert Settings(http=http).is_overheard is is_overheard


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

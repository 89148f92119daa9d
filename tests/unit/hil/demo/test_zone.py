"""The first start of a demo may be ended at any point."""

from pathlib import Path

import pytest

from hil.demo.errors import DemoFailed
from hil.demo.place import Place, Ports
from hil.demo.zone import DemoZone


def zone(data: Path) -> DemoZone:
    place = Place(data)
    place.secrets.mkdir(exist_ok=True)
    return DemoZone(place, Ports(1, 2, 3), runtime=data, control_url="", say=lambda _: None)


def test_what_a_first_start_left_half_made_is_made_again(tmp_path: Path) -> None:
    place = Place(tmp_path)
    zone(tmp_path)._clear_way()
    place.server.mkdir()
    (place.server / "fleet.toml").touch()
    place.token_file.touch()
    zone(tmp_path)._clear_way()
    assert not place.server.exists()
    assert not place.token_file.exists()


def test_what_no_demo_made_is_left_alone(tmp_path: Path) -> None:
    """Somebody may name the folder of a real installation."""
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "fleet.toml").touch()
    for _ in range(2):
        with pytest.raises(DemoFailed, match="was not made by a demo"):
            zone(tmp_path)._clear_way()
    assert (tmp_path / "server" / "fleet.toml").exists()

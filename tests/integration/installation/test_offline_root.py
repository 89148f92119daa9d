"""The whole road of an offline root, as processes on two "machines" that share nothing but a folder that is carried."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.integration.installation.conftest import Command, Serving


def test_from_request_to_a_serving_fleet(command: Command, ports: list[object], serve: Callable[..., Serving], tmp_path: Path) -> None:
    root, usb, passphrase = tmp_path / "offline" / "root", tmp_path / "usb", tmp_path / "offline" / "passphrase"
    begun = command("fleet", "init", "--offline-root", "--organisation", "Royal Thai Police", "--console", "own", *ports)
    assert begun.returncode == 0, begun.stderr
    assert [step.strip()[:2] for step in begun.stdout.splitlines() if step.strip()[0].isdigit()] == ["1.", "2.", "3."]
    assert "--signed" in command.fails("fleet", "serve")

    shutil.copytree(command.data / "pki" / "requests", usb)
    assert b"PRIVATE" not in b"".join(path.read_bytes() for path in usb.iterdir()), "no secret is carried"
    passphrase.parent.mkdir()
    passphrase.write_text("a long passphrase")
    (tmp_path / "wrong").write_text("another")
    offline = ["--dir", root, "--passphrase-file"]
    made = command("fleet-ca", "init-root", "--organisation", "Royal Thai Police", *offline, passphrase)
    assert made.returncode == 0, made.stderr
    assert "passphrase" in command.fails("fleet-ca", "sign-issuing", usb, *offline, tmp_path / "wrong")
    assert "root.pem" in command.fails("fleet", "init", "--signed", usb), "nothing was signed yet"
    signed = command("fleet-ca", "sign-issuing", usb, *offline, passphrase)
    assert signed.returncode == 0, signed.stderr

    finished = command.json("fleet", "init", "--signed", usb)
    assert finished["is_signed"]
    assert finished["administrator"]["user"] == "admin"
    assert finished["console_url"].startswith("https://"), "what was asked for at the beginning is remembered"
    assert "finished already" in command.fails("fleet", "init", "--signed", usb)
    shown = json.loads(command("fleet-ca", "show", "--dir", command.data / "pki", "--json").stdout)
    assert "Royal Thai Police" in json.dumps(shown, ensure_ascii=False)
    assert not list(command.data.rglob("root.key.pem"))
    serve()
    assert command.json("fleet", "status")["ready"]

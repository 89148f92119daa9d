"""Commands that other houses add to `fleet`."""

import typer
from typer.testing import CliRunner

from fleet_server.__main__ import _not_installed


def test_command_whose_library_is_missing_says_so() -> None:
    app = typer.Typer()
    app.command("serve")(lambda: None)
    app.command("demo")(_not_installed("demo", "pymodbus"))
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 1
    assert "fleet demo needs the library pymodbus" in result.output
    assert "pymodbus" in CliRunner().invoke(app, ["--help"]).output

"""`fleet serve` and `fleet status`."""

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fleet_server.cli.answers import HERE, Data, Json, answer, said_plainly, settings_at


def serve(
    data: Data = HERE,
    demo_control: Annotated[str | None, typer.Option(help="Loopback address of the demo that started this server.")] = None,
    ready_file: Annotated[Path | None, typer.Option(help="Written, whole, once everything answers.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    """Run the server until Ctrl-C or SIGTERM.

    Example: fleet serve --data /srv/fleet
    """
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    for name in ("aiomqtt", "mqtt", "urllib3", "httpx", "httpcore", "alembic", "acme"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with said_plainly():
        settings = settings_at(data)
        from fleet_server import serve as serving

        serving.run(settings, data, demo_control=demo_control, ready_file=ready_file)


def status(data: Data = HERE, as_json: Json = False) -> None:
    """Ask the running server how it is.

    Example: fleet status --data /srv/fleet
    """
    import httpx

    from fleet_server.errors import Transient

    with said_plainly():
        url = settings_at(data).console_url
        try:
            response = httpx.get(f"{url}/readyz", timeout=5.0, verify=False)  # noqa: S501  # our own machine, perhaps our own CA
        except httpx.TransportError as error:
            raise Transient(f"No server answers at {url}: start it with fleet serve --data {data}") from error
        said: dict[str, Any] = response.json()
    answer({"url": url, **said}, as_json, *(f"{name}: {state}" for name, state in said["checks"].items()))
    if not said["ready"]:
        raise typer.Exit(1)

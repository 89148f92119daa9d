"""`fleet node`: nodes and their claim codes."""

from typing import Annotated, Final

import typer

from fleet_server.cli.answers import HERE, Data, Json, answer, opened, registry_of, said_plainly

node_app: Final = typer.Typer(help="Nodes and their claim codes.", no_args_is_help=True, rich_markup_mode=None)


@node_app.command("add")
def node_add(
    serial: Annotated[str, typer.Option(help="Serial number on the node's label.")],
    unit: Annotated[str, typer.Option(help="Path of the station, such as /bpp/n1/lumpini/.")],
    data: Data = HERE,
    approve: Annotated[bool, typer.Option(help="Let it enrol at once, without a technician's claim.")] = False,
    simulated: Annotated[bool, typer.Option(help="Mark it as simulated, for ever.")] = False,
    label: Annotated[str, typer.Option(help="Name for people.")] = "",
    as_json: Json = False,
) -> None:
    """Make a node known and print its claim code, once.

    Example: fleet node add --serial SSZ-0001 --unit /bpp/n1/lumpini/ --approve
    """
    from fleet_server.access.model import Scope
    from fleet_server.main import enrolment_service

    with said_plainly(), opened(data) as (settings, database):
        registry = registry_of(settings, database)
        node = registry.add_node(serial, unit_path=unit, is_simulated=simulated, label=label or serial, actor="fleet node add")
        claim = enrolment_service(settings, data, database, registry).register(
            node, actor="fleet node add", scope=Scope.ALL, approve=approve
        )
    answer(
        {"node": node, "serial": serial, "code": claim.code, "state": claim.state},
        as_json,
        f"Claim code of {serial}: {claim.code}",
        "It is shown this once, and works once: zone-agent enrol --serial … --code …",
    )

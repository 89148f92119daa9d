"""`fleet account` and `fleet token`: people and programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fleet_server.cli.answers import HERE, Data, Json, access_of, answer, opened, said_plainly

if TYPE_CHECKING:
    from fleet_server.settings import Settings

account_app: Final = typer.Typer(help="People who may sign in.", no_args_is_help=True, rich_markup_mode=None)
token_app: Final = typer.Typer(help="API tokens for programs.", no_args_is_help=True, rich_markup_mode=None)


@account_app.command("create")
def account_create(
    user: Annotated[str, typer.Argument(help="User name.")],
    role: Annotated[str, typer.Option(help="administrator, technician, ccoc_operator, evaluator, station_chief, …")],
    unit: Annotated[str, typer.Option(help="Path of the unit whose subtree the account sees; / is all.")] = "/",
    data: Data = HERE,
    as_json: Json = False,
) -> None:
    """Make an account; prints a one-time link that sets its password.

    Example: fleet account create somsri --role ccoc_operator --unit /bpp/n1/
    """
    from fleet_server.access.model import Principal, Role
    from fleet_server.errors import Rejected

    with said_plainly(), opened(data) as (settings, database):
        if role not in list(Role):
            raise Rejected(f"There is no role {role!r}: choose from {', '.join(Role)}.")
        link = access_of(database).create_account(user, Role(role), unit, by=Principal.LOCAL)
    _say_link(settings, link.user, link.secret, as_json)


@account_app.command("disable")
def account_disable(user: str, data: Data = HERE, as_json: Json = False) -> None:
    """Close an account at once: its sessions and tokens are dead.

    Example: fleet account disable somsri
    """
    from fleet_server.access.model import Principal

    with said_plainly(), opened(data) as (_settings, database):
        access_of(database).disable(user, by=Principal.LOCAL)
    answer({"user": user, "is_disabled": True}, as_json, f"{user} is disabled")


@account_app.command("enable")
def account_enable(user: str, data: Data = HERE, as_json: Json = False) -> None:
    """Open a closed account again, with the password it had.

    Example: fleet account enable somsri
    """
    from fleet_server.access.model import Principal

    with said_plainly(), opened(data) as (_settings, database):
        access_of(database).enable(user, by=Principal.LOCAL)
    answer({"user": user, "is_disabled": False}, as_json, f"{user} is open again")


@account_app.command("reset")
def account_reset(user: str, data: Data = HERE, as_json: Json = False) -> None:
    """Take an account's password away; prints a one-time link that sets a new one.

    Example: fleet account reset somsri
    """
    from fleet_server.access.model import Principal

    with said_plainly(), opened(data) as (settings, database):
        link = access_of(database).reset(user, by=Principal.LOCAL)
    _say_link(settings, link.user, link.secret, as_json)


@token_app.command("create")
def token_create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    role: Annotated[str, typer.Option(help="What it may do.")] = "auditor",
    unit: Annotated[str, typer.Option(help="Path of the unit whose subtree it sees.")] = "/",
    out: Annotated[Path | None, typer.Option(help="Write it to this file (0600) instead of showing it.")] = None,
    data: Data = HERE,
    as_json: Json = False,
) -> None:
    """Make an API token; it cannot be shown again.

    Example: fleet token create grafana --role auditor --out secrets/token
    """
    from fleet_server.access.model import Principal, Role, Scope, is_unit_path
    from fleet_server.errors import Rejected
    from provisioning.files import SECRET, write_file

    with said_plainly(), opened(data) as (_settings, database):
        if role not in list(Role):
            raise Rejected(f"There is no role {role!r}: choose from {', '.join(Role)}.")
        if not is_unit_path(unit):
            raise Rejected(f"{unit[:200]!r} is not the path of a unit, such as /bpp/n1/.")
        secret = access_of(database).create_token(name, Role(role), Scope(unit), by=Principal.LOCAL)
        if out is not None:
            write_file(out, secret.encode(), SECRET)
    if out is not None:
        answer({"name": name, "file": str(out)}, as_json, f"written to {out}")
    else:
        answer({"name": name, "token": secret}, as_json, secret)


def _say_link(settings: "Settings", user: str, secret: str, as_json: bool) -> None:
    url = f"{settings.console_url}/setup/{secret}"
    answer({"user": user, "link": url}, as_json, f"Open once, to set the password of {user}: {url}")

"""`hil`: scenarios, swarm and benchmarks against the real programs."""

import typer

app = typer.Typer(
    help="Hardware in the loop: scenarios, swarm and benchmarks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def main() -> None:
    """Hardware in the loop."""


if __name__ == "__main__":
    app()

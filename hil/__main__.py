"""`hil`: scenarios, swarm and benchmarks against the real programs."""

import typer

from hil.bench.command import bench_command
from hil.scenarios.command import list_scenarios, run_scenario
from hil.swarm.command import swarm

app = typer.Typer(
    help="Hardware in the loop: scenarios, swarm and benchmarks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def main() -> None:
    """Hardware in the loop."""


app.command("list")(list_scenarios)
app.command("run")(run_scenario)
app.command("swarm")(swarm)
app.command("bench")(bench_command)

if __name__ == "__main__":
    app()

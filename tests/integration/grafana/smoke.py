"""`make grafana-smoke`: our data source, board and alert rule on a real Grafana over an InfluxDB that the server's writer fills.

Takes about ten minutes, most of which is waiting for the alarm. Exit statuses: 0 every check passed, 1 one did not, 69 there
is no Grafana or no InfluxDB at hand (the sentence says what was looked for and how to give one).
"""

import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from fleet_server.telemetry.influx_setup import InfluxSetup
from grafana.smoke.checks import Check, Patience, Smoke
from grafana.smoke.install import committed_board, committed_group
from tests.integration.grafana.station import LUMPINI, Station
from tests.servers import influxdb
from tests.servers.grafana import InfluxAccess, at_hand, get_grafana
from tests.servers.influxdb import Influx, InfluxServer
from tests.servers.not_run import Unavailable

UNAVAILABLE: Final = 69
"""EX_UNAVAILABLE of sysexits.h."""


def main() -> int:
    """Run all checks; say each."""
    try:
        _say(f"Grafana: {at_hand()}")
        if influxdb.main():
            return UNAVAILABLE
        return run()
    except Unavailable as error:
        _say(f"not run: {error}")
        return UNAVAILABLE


def run(patience: Patience | None = None, *, interval_s: float = 10.0) -> int:
    """Fill an InfluxDB, take or start a Grafana, look; `interval_s` is how often the server writes meanwhile.

    Raises:
        Unavailable: one of them cannot be had.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="grafana-smoke-")))
        server = stack.enter_context(closing(InfluxServer.get(folder)))
        influx = server.create()
        stack.callback(server.remove, influx)
        station = stack.enter_context(Station(influx, folder))
        station.fill()
        writing = stack.enter_context(ExitStack())
        writing.enter_context(station.writing(interval_s=interval_s))
        grafana = stack.enter_context(closing(get_grafana(folder, _reader(server, influx))))
        (rule,) = committed_group()["rules"]
        smoke = Smoke(grafana.api, board=committed_board(), values={"station": LUMPINI}, rule_title=rule["title"], patience=patience)
        return _report(list(map(_said, smoke.run(writing.close))))


def _reader(server: InfluxServer, influx: Influx) -> InfluxAccess:
    """Make the token that a real installation gives to Grafana: it may only read."""
    with InfluxSetup(influx.url, org=influx.org, operator_token=server.operator_token) as setup:
        setup.prepare()
        return InfluxAccess(influx.url, setup.new_token("grafana", may_write=False))


def _said(check: Check) -> Check:
    _say(f"FAILED  {check.what}: {check.complaint}" if check.complaint else f"ok      {check.what}")
    return check


def _report(checks: list[Check]) -> int:
    failed = sum(1 for check in checks if check.complaint)
    _say(f"{len(checks) - failed} of {len(checks)} checks passed")
    return 1 if failed else 0


def _say(text: str) -> None:
    sys.stderr.write(f"[grafana-smoke] {text}\n")


if __name__ == "__main__":
    sys.exit(main())

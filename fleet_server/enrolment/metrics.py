"""What Prometheus is told of enrolment."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from fleet_server.enrolment.model import Cause


class EnrolmentMetrics(Collector):
    """`ssz_enrolment_refusals_total{cause}`: a rise of `wrong_code` or `unknown_serial` is somebody who guesses."""

    def __init__(self, refusals: Callable[[], Mapping[Cause, int]], registry: CollectorRegistry) -> None:
        """Register the name once; `refusals` counts since the start."""
        self._refusals = refusals
        registry.register(self)

    def describe(self) -> Iterable[CounterMetricFamily]:
        """See `Collector`."""
        return [self._family()]

    def collect(self) -> Iterable[CounterMetricFamily]:
        """See `Collector`; causes that were not met are there as 0."""
        family, counts = self._family(), self._refusals()
        for cause in Cause:
            family.add_metric([cause.value], counts.get(cause, 0))
        return [family]

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily("ssz_enrolment_refusals", "Requests for a certificate that were refused.", labels=["cause"])

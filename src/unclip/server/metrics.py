"""Counters for Prometheus, of one server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from .engine import Engine

SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
PICTURES = (1, 2, 4, 8, 16, 32)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Counters of requests, and what the engine counts."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.registry = own = CollectorRegistry()
        ProcessCollector(registry=own)
        own.register(_Figures(engine))
        self.in_flight = Gauge(
            "unclip_requests_in_flight", "Requests being answered.", registry=own
        )
        self.requests = Counter(
            "unclip_requests", "Answers.", ("method", "route", "status"), registry=own
        )
        self.seconds = Histogram(
            "unclip_request_seconds", "Time to answer.", ("route",), buckets=SECONDS, registry=own
        )
        self.waits = Histogram(
            "unclip_job_wait_seconds", "Time in the queue.", buckets=SECONDS, registry=own
        )
        self.drew = Histogram(
            "unclip_job_run_seconds", "Time of a job's batch.", buckets=SECONDS, registry=own
        )
        self.batches = Histogram(
            "unclip_batch_pictures", "Pictures of a batch.", buckets=PICTURES, registry=own
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        named = method if method in METHODS else "other"
        self.requests.labels(named, route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """As Prometheus reads it."""
        figures = self.engine.figures
        for histogram, values in (
            (self.waits, figures.waits),
            (self.drew, figures.runs),
            (self.batches, figures.batches),
        ):
            while values:
                histogram.observe(values.pop())
        return generate_latest(self.registry)


class _Figures(Collector):
    """What the engine and the store know, when asked."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Each of them."""
        figures = self.engine.figures
        jobs = GaugeMetricFamily("unclip_jobs", "Jobs kept, by state.", labels=("state",))
        for state, count in self.engine.store.counts().items():
            jobs.add_metric([state], count)
        yield jobs
        yield GaugeMetricFamily("unclip_ready", "Whether it can draw.", int(self.engine.ready))
        memory = GaugeMetricFamily(
            "unclip_worker_memory_bytes", "Held by a worker.", labels=("worker", "kind")
        )
        for number, held in enumerate(self.engine.memory):
            for kind, count in held.items():
                memory.add_metric([str(number), kind], count)
        yield memory
        yield CounterMetricFamily("unclip_pictures", "Pictures drawn.", figures.pictures)
        yield CounterMetricFamily("unclip_steps", "Sampling steps.", figures.steps)
        yield CounterMetricFamily("unclip_worker_deaths", "Workers that died.", figures.deaths)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing: they are known when they are asked for."""
        return iter(())

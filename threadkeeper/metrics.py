"""The metrics of `/metrics`. The code that does the work updates them; this module imports neither web nor chat."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

# Not the library's own registry: `chainlit run -w` imports this module again.
registry = CollectorRegistry(auto_describe=True)
ProcessCollector(registry=registry)
PlatformCollector(registry=registry)
GCCollector(registry=registry)

queued_writes = Gauge("threadkeeper_queued_writes", "Writes that are not stored yet.", registry=registry)
open_sessions = Gauge("threadkeeper_open_sessions", "Browser tabs that are connected.", registry=registry)
logins = Counter("threadkeeper_logins", "Logins, by outcome: ok or failed.", ["outcome"], registry=registry)
write_failures = Counter("threadkeeper_write_failures", "Writes that could not be stored.", registry=registry)
model_errors = Counter(
    "threadkeeper_model_errors", "Calls of a model that failed, by kind of error.", ["kind"], registry=registry
)
answers = Counter(
    "threadkeeper_answers",
    "Answers of a model, by outcome: complete, stopped or failed.",
    ["outcome"],
    registry=registry,
)
first_token_seconds = Histogram(
    "threadkeeper_first_token_seconds",
    "Seconds from the question to the first words of the answer.",
    buckets=(0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60),
    registry=registry,
)

for _outcome in ("ok", "failed"):
    logins.labels(_outcome)


def watch(*, queued_write_count: Callable[[], float], open_session_count: Callable[[], float]) -> None:
    """Set the functions that the gauges call at each request for `/metrics`."""
    queued_writes.set_function(queued_write_count)
    open_sessions.set_function(open_session_count)

#!/usr/bin/env bash
# Guess: `propagate_attributes` of Langfuse's SDK gives the user, the session, tags and metadata to all observations of a
#   request; what is too long for it is cut.
# True: what has more than 200 characters is dropped whole, with a line in the log: the trace is then without its session.
#   So is a user whose identifier is a number. A metadata text is stored as JSON, and its quotes count: 199 letters are
#   one too many. `metadata=` of an observation takes any length. An observation that has ended before the call stays
#   without a session for good, so that one trace is half within it.
# For a chat like ours: a session is a thread or a URL of one, a user an address or a row's number. Send identifiers as
#   texts of our own making, first thing in a request, and long values on the observation.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check langfuse==5.0.4
cd "$folder"
export LANGFUSE_PUBLIC_KEY=none LANGFUSE_SECRET_KEY=none LANGFUSE_HOST=http://127.0.0.1:9
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from langfuse import Langfuse, propagate_attributes
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
langfuse = Langfuse(span_exporter=exporter)


def spans():
    langfuse.flush()
    ended = exporter.get_finished_spans()
    exporter.clear()
    return {span.name: dict(span.attributes) for span in ended}


def kept(key, **given):
    """How many characters of what is given an observation has; none if it was dropped."""
    with propagate_attributes(**given):
        with langfuse.start_as_current_observation(name="question"):
            pass
    value = spans()["question"].get(key)
    return None if value is None else len(value)


seen = {
    "session of 200 letters": kept("session.id", session_id="s" * 200),
    "session of 201 letters": kept("session.id", session_id="s" * 201),
    "user 1042": kept("user.id", user_id=1042),
    "metadata of 198 letters": kept("langfuse.trace.metadata.page", metadata={"page": "p" * 198}),
    "metadata of 199 letters": kept("langfuse.trace.metadata.page", metadata={"page": "p" * 199}),
}
with langfuse.start_as_current_observation(name="whole", metadata={"page": "p" * 5000}):
    with langfuse.start_as_current_observation(name="search"):
        pass
    with propagate_attributes(session_id="thread-1"):
        with langfuse.start_as_current_observation(name="answer"):
            pass
of_trace = spans()
seen["metadata of an observation, 5000 letters"] = len(of_trace["whole"]["langfuse.observation.metadata.page"])
seen["sessions of one trace"] = {name: one.get("session.id") for name, one in of_trace.items()}
print("langfuse", version("langfuse"))
print("guess: 200 characters or more of each, 4 of the user, one session")
for name, value in seen.items():
    print(f"seen:  {name}: {value}")
if seen != {
    "session of 200 letters": 200,
    "session of 201 letters": None,
    "user 1042": None,
    "metadata of 198 letters": 200,
    "metadata of 199 letters": None,
    "metadata of an observation, 5000 letters": 5002,
    "sessions of one trace": {"search": None, "answer": "thread-1", "whole": "thread-1"},
}:
    sys.exit("The behaviour has changed.")
PY

#!/usr/bin/env bash
# Guess: a durable workflow that is resumed after a crash takes the way that it took before: what a step returned or
#   raised is read back from the database.
# True: DBOS stores the error of a step with pickle, and the OpenAI SDK's errors can be written so, but not read:
#   their constructors need arguments that pickle does not keep. Where the workflow caught `openai.RateLimitError` in
#   its first life, the resumed one gets a TypeError from the same step, passes its `except` by, and ends as failed. A
#   ValueError comes back as itself. Nothing is said when the error is stored, and a list of the steps shows it as a text
#   in base64.
# For a chat like ours: a job that met a rate limit, waited, and was restarted meanwhile is lost, and only the combination
#   of all three shows it. Let a step catch the SDK's errors, and return a value or raise a plain error of one's own with
#   nothing but its text.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  dbos==3.4.0 openai==3.57.0 httpx2==2.16.2 'sqlalchemy==2.1.9'
cd "$folder"
cat > life.py <<'PY'
"""One life of the process: the first ends in the middle of the workflow, the second resumes it."""
import os
import sys
import time

import httpx2
import openai
from dbos import DBOS, SetWorkflowID

kind, life = sys.argv[1:]
DBOS(config={
    "name": "chat", "system_database_url": f"sqlite:///{os.getcwd()}/{kind}.sqlite", "application_version": "1",
    "run_admin_server": False, "log_level": "CRITICAL",
})


@DBOS.step()
def ask():
    if kind == "ValueError":
        raise ValueError("Too many requests")
    refusal = httpx2.Response(429, request=httpx2.Request("POST", "http://127.0.0.1/v1/chat/completions"))
    raise openai.RateLimitError("Too many requests", response=refusal, body=None)


@DBOS.step()
def wait():
    if life == "first":
        os._exit(0)


@DBOS.workflow()
def job():
    try:
        ask()
    except (openai.RateLimitError, ValueError) as error:
        print(f"caught {type(error).__name__}", flush=True)
        wait()
    return "asked later"


DBOS.launch()
if life == "first":
    with SetWorkflowID("job"):
        job()
for _ in range(600):
    if (status := DBOS.get_workflow_status("job")).status in ("SUCCESS", "ERROR"):
        break
    time.sleep(0.1)
try:
    print(status.status, DBOS.retrieve_workflow("job").get_result(), sep=", ")
except Exception as error:
    print(status.status, type(error).__name__, sep=", ")
print("in the list of steps:", type(DBOS.list_workflow_steps("job")[0]["error"]).__name__)
sys.stdout.flush()
# The threads of DBOS would hold the process for a while.
os._exit(0)
PY
"$folder/venv/bin/python" - <<'PY'
import subprocess
import sys
from importlib.metadata import version

seen = {}
for kind in ("ValueError", "RateLimitError"):
    for life in ("first", "second"):
        run = subprocess.run([sys.executable, "life.py", kind, life], text=True, capture_output=True, check=True)
        seen[kind, life] = run.stdout.split("\n")[:-1]
print(*(f"{name} {version(name)}" for name in ("dbos", "openai")))
print("guess: both lives catch the same error, and the second ends with SUCCESS")
for (kind, life), lines in seen.items():
    print(f"seen:  {kind}, {life} life: {'; '.join(lines)}")
if seen != {
    ("ValueError", "first"): ["caught ValueError"],
    ("ValueError", "second"): ["caught ValueError", "SUCCESS, asked later", "in the list of steps: ValueError"],
    ("RateLimitError", "first"): ["caught RateLimitError"],
    ("RateLimitError", "second"): ["ERROR, TypeError", "in the list of steps: str"],
}:
    sys.exit("The behaviour has changed.")
PY

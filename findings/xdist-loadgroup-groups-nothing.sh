#!/usr/bin/env bash
# Guess: tests with the same `xdist_group` run on one worker with `--dist loadgroup`; if grouping did not work, pytest or
#   pytest-xdist would say so.
# True: pytest-xdist 3.8 puts the group behind the id of each test by an attribute. pytest 9.2 no longer reads it: the
#   groups are ignored, their tests run on any worker, at the same time, and there is no warning. With pytest 9.0 the
#   same tests stay together.
# For a chat like ours: tests that share a server of a database or of files start one in each worker, or disturb each
#   other. Put `@group` behind the id oneself (done), or stay with pytest 9.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
cd "$folder"
cat > test_groups.py <<'PY'
import os
import time
from pathlib import Path

import pytest


@pytest.mark.parametrize("number", range(16))
@pytest.mark.xdist_group("one server")
def test_one(number):
    time.sleep(0.05)
    with Path("workers.txt").open("a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\n")
PY
seen() {
  "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "pytest==$1" pytest-xdist==3.8.0
  rm -f workers.txt
  "$folder/venv/bin/python" -W error -m pytest -q -p no:cacheprovider -n 4 --dist loadgroup test_groups.py >output.txt
  workers=$(sort -u workers.txt | wc -l)
  echo "seen:  pytest $1, pytest-xdist 3.8.0: 16 tests of one group ran on $workers worker(s); $(grep -ci warning output.txt || true) warnings"
}
echo "guess: one worker"
seen 9.0.2
older=$workers
seen 9.2.0
newer=$workers
if [ "$older" -ne 1 ] || [ "$newer" -lt 2 ] || grep -qi warning output.txt; then
  echo "The behaviour has changed."
  exit 1
fi

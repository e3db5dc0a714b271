#!/usr/bin/env bash
# Guess: a limit of ten tokens a second that is asked for twenty at once says that this can never be; and a request that was
#   refused takes nothing from the limit.
# True: throttled-py names a wait of about a second, with each of its five algorithms, GCRA too, and again after it: who waits
#   as told waits for ever. `limits` says no, and its statistics say that the whole limit is free, or, with a fixed window, that
#   nothing is left: there, and in throttled-py's window, the refused twenty are counted, so that a request for one is refused
#   as well. pyrate-limiter answers False at once, also where it was asked to block until there is room.
# For a chat like ours: limits of tokens a minute meet long conversations, which one request exceeds. Compare the request with
#   the limit first, and answer that it is too large (413, or 400), not that it came too early (429 with Retry-After).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  throttled-py==3.5.0 limits==5.8.0 pyrate-limiter==4.5.1
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import sys
import time
from importlib.metadata import version

from limits import parse, storage, strategies
from pyrate_limiter import Duration, Limiter, Rate
from throttled import Throttled, rate_limiter

LIMIT, ASKED = 10, 20


def by_throttled(algorithm):
    """Whether it is refused three times although it waits as told, and one afterwards without a wait."""
    limiter = Throttled(key=algorithm, using=algorithm, quota=rate_limiter.per_sec(LIMIT, burst=LIMIT))
    refusals = []
    for _ in range(3):
        result = limiter.limit(cost=ASKED)
        refusals.append(result.limited and 0 < result.state.retry_after <= 2)
        time.sleep(result.state.retry_after + 0.01)
    fresh = Throttled(key=f"{algorithm} fresh", using=algorithm, quota=rate_limiter.per_sec(LIMIT, burst=LIMIT))
    fresh.limit(cost=ASKED)
    return all(refusals), "refused" if fresh.limit(cost=1).limited else "taken"


def by_limits(strategy):
    """Whether it is refused, what is left by the statistics, and whether one is refused afterwards."""
    limiter, item = strategy(storage.MemoryStorage()), parse(f"{LIMIT}/second")
    refused = not limiter.hit(item, "key", cost=ASKED)
    left = limiter.get_window_stats(item, "key").remaining
    return refused, left, "taken" if limiter.hit(item, "key") else "refused"


ALGORITHMS = ("fixed_window", "sliding_window", "token_bucket", "leaking_bucket", "gcra")
STRATEGIES = (strategies.FixedWindowRateLimiter, strategies.MovingWindowRateLimiter)
throttled = {algorithm: by_throttled(algorithm) for algorithm in ALGORITHMS}
limits = {strategy.__name__: by_limits(strategy) for strategy in STRATEGIES}
begin = time.monotonic()
blocking = Limiter(Rate(LIMIT, Duration.SECOND)).try_acquire("key", weight=ASKED, blocking=True)
waited = time.monotonic() - begin
print(" ".join(f"{name} {version(name)} " for name in ("throttled-py", "limits", "pyrate-limiter")))
print(f"guess: {ASKED} of {LIMIT} is an error, and one more is taken")
for algorithm, (waits, one) in throttled.items():
    print(f"seen:  throttled-py, {algorithm}: told to wait each time: {waits}; one after a refusal is {one}")
for strategy, (refused, left, one) in limits.items():
    print(f"seen:  limits, {strategy}: refused: {refused}, left: {left}; one after a refusal is {one}")
print(f"seen:  pyrate-limiter, blocking: {blocking} after {waited:.1f} s")
if (
    not all(waits for waits, _ in throttled.values())
    or throttled["fixed_window"][1] != "refused"
    or throttled["gcra"][1] != "taken"
    or list(limits.values()) != [(True, 0, "refused"), (True, LIMIT, "taken")]
    or blocking is not False
    or waited > 0.5
):
    sys.exit("The behaviour has changed.")
PY

#!/usr/bin/env bash
# Guess: `Webhook.sign` of the Python library signs the moment that a datetime means, in whatever zone it is written.
# True: it takes the figures of the datetime and calls them UTC. A moment with the zone of Shanghai is signed as eight
#   hours later, one of New York as hours earlier; the receiver, who signs what the header says, finds "No matching
#   signature". Only a datetime in UTC works. A secret in the base64 of URLs, with "-" and "_", is taken without an error
#   as a shorter one, since Python's decoder drops these characters; the library for JavaScript raises for it. And its
#   `verify` gives the parsed JSON, so that a body that is signed and is no JSON raises too.
# For a chat like ours: a sender passes all its tests on a machine in UTC, or in a zone of its own tests, and fails for
#   every receiver. Give it `datetime.now(timezone.utc)`, and make secrets by the ordinary base64.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check standardwebhooks==1.1.0 tzdata==2026.6
cd "$folder"
npm install --silent --no-fund --no-audit standardwebhooks@1.1.1 >"$folder/log" 2>&1
"$folder/venv/bin/python" - <<'PY'
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from zoneinfo import ZoneInfo

from standardwebhooks import Webhook, WebhookVerificationError

SECRET = "dGhyZWFkLXdhcy1hbnN3ZXJlZC0yNA=="
OF_URLS = "dGhyZWFkLXdhcy1hbnN3ZXJl-_-_"
SIGN = """
import { Webhook } from "standardwebhooks";
try { new Webhook(process.argv[1]).sign("m", new Date(), "{}"); console.log("signs"); }
catch (error) { console.log("raises"); }
"""
now = datetime.now(timezone.utc)
webhook = Webhook(SECRET)


def outcome(body, signature):
    headers = {"webhook-id": "m", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}
    try:
        webhook.verify(body, headers)
    except (WebhookVerificationError, ValueError) as error:
        return type(error).__name__
    return "verified"


def by_javascript(secret):
    command = ["node", "--input-type=module", "-e", SIGN, secret]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


seen = {
    zone: outcome("{}", webhook.sign("m", now.astimezone(ZoneInfo(zone)), "{}"))
    for zone in ("UTC", "Asia/Shanghai", "America/New_York")
}
seen["no JSON"] = outcome("five days", webhook.sign("m", now, "five days"))
signatures = {secret: Webhook(secret).sign("m", now, "{}") for secret in (OF_URLS, OF_URLS[:-4])}
seen["secret of URLs, Python"] = "as without its end" if len(set(signatures.values())) == 1 else "its own"
seen["secret of URLs, JavaScript"] = by_javascript(OF_URLS)
seen["ordinary secret, JavaScript"] = by_javascript(SECRET)
print("standardwebhooks", version("standardwebhooks"), "(Python), 1.1.1 (JavaScript)")
print("guess: the three zones are verified; both libraries take the secret of URLs, or neither")
for name, value in seen.items():
    print(f"seen:  {name}: {value}")
if seen != {
    "UTC": "verified",
    "Asia/Shanghai": "WebhookVerificationError",
    "America/New_York": "WebhookVerificationError",
    "no JSON": "JSONDecodeError",
    "secret of URLs, Python": "as without its end",
    "secret of URLs, JavaScript": "raises",
    "ordinary secret, JavaScript": "signs",
}:
    sys.exit("The behaviour has changed.")
PY

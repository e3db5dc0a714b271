#!/usr/bin/env bash
# Guess: when axe-core finds no violation of its rule for contrast, the text of the page can be read; what it cannot judge is a
#   rare case.
# True: text on a gradient or a picture, under a `::before` that fills its place, a text of one character, and the text of an
#   SVG are in `incomplete`, a list of its own that most tests do not read. Faint by `opacity` is a violation; faint by
#   `filter`, the placeholder of an empty field, and a disabled button are in neither list, the last as the rule has it. The
#   same grey on plain white is a violation each time.
# For a chat like ours: a heading on a gradient, the digits of a counter and each label of a chart are passed over by a test
#   that says "no violations". Ask for `incomplete` too (`resultTypes` decides which lists are filled in), and look at
#   what is in it once.
# Needs Chromium (`CHROMIUM_PATH`, or in the search path) and npm.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
CHROMIUM_PATH=${CHROMIUM_PATH:-$(command -v chromium-headless-shell || command -v chromium || command -v google-chrome)}
export CHROMIUM_PATH
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check playwright==1.65.0
cd "$folder"
npm install --silent --no-audit --no-fund --prefix "$folder" axe-core@4.14.1 > /dev/null
"$folder/venv/bin/python" - <<'PY'
import os
import sys
from importlib.metadata import version
from pathlib import Path

from playwright.sync_api import sync_playwright

GREY = "color: #ccc"
PIXEL = "url(data:image/gif;base64,R0lGODlhAQABAIAAAP///wAAACH5BAAAAAAALAAAAAABAAEAAAICRAEAOw==)"
COVERED = '<style>.x { position: relative } .x::before { content: ""; position: absolute; inset: 0; background: #fff }</style>'
PAGES = {
    "on white": f'<p style="{GREY}">text</p>',
    "opacity": '<p style="opacity: 0.3">text</p>',
    "gradient": f'<p style="{GREY}; background: linear-gradient(#fff, #eee)">text</p>',
    "picture": f'<p style="{GREY}; background-image: {PIXEL}">text</p>',
    "::before": f'{COVERED}<p class="x" style="{GREY}">text</p>',
    "one character": f'<p style="{GREY}">7</p>',
    "chart": '<svg role="img" aria-label="chart" width="90" height="20"><text y="15" fill="#ccc">text</text></svg>',
    "filter": '<p style="filter: opacity(20%)">text</p>',
    "placeholder": f'<style>::placeholder {{ {GREY} }}</style><label>Name <input placeholder="text"></label>',
    "disabled": f'<button disabled style="{GREY}; background: #fff">text</button>',
}
RUN = "axe.run({ runOnly: ['color-contrast'] }).then(({ violations, incomplete }) => [violations.length, incomplete.length])"
script = Path("node_modules/axe-core/axe.min.js").read_text()
seen = {}
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(
        executable_path=os.environ["CHROMIUM_PATH"], args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    )
    page = browser.new_page()
    for name, body in PAGES.items():
        page.set_content(f'<html lang="en"><title>t</title><body style="background: #fff"><main>{body}</main></body></html>')
        page.evaluate(script)
        violations, incomplete = page.evaluate(RUN)
        seen[name] = "violation" if violations else "incomplete" if incomplete else "neither"
    print("axe-core", page.evaluate("axe.version"), " playwright", version("playwright"))
    browser.close()
print("guess: a violation each time, except for the disabled button")
for name, result in seen.items():
    print(f"seen:  {name}: {result}")
if list(seen.values()) != ["violation"] * 2 + ["incomplete"] * 5 + ["neither"] * 3:
    sys.exit("The behaviour has changed.")
PY

#!/usr/bin/env bash
# Guess: Playwright's tools work on any page, whatever its Content-Security-Policy says; or `wait_for_function` fails there
#   each time, so that one learns of it when the test is written.
# True: on a page without 'unsafe-eval', `wait_for_function("document.title === 'after'")` returns if the expression is true at
#   once. If it is still false at the first look, the call fails with an EvalError instead of waiting, because only the second
#   look is subject to the policy. So the test passes on a fast machine and fails on a slow one. The same text as a function,
#   "() => document.title === 'after'", waits.
# For a chat like ours: a test of a page with a policy fails now and then, with a message about the policy in place of the
#   wait. Write the condition as a function, or wait from outside: `expect(page).to_have_title(…)`.
# Needs Chromium (`CHROMIUM_PATH`, or in the search path).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
CHROMIUM_PATH=${CHROMIUM_PATH:-$(command -v chromium-headless-shell || command -v chromium || command -v google-chrome)}
export CHROMIUM_PATH
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check playwright==1.65.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import os
import sys
from importlib.metadata import version

from playwright.sync_api import Error, expect, sync_playwright

PAGE = '<title>before</title><script src="/page.js"></script>'
SCRIPT = "setTimeout(() => { document.title = 'after'; }, 1000);"
WAITS = {
    "expression, true at once": lambda page: page.wait_for_function("document.title === 'before'"),
    "expression, true after a second": lambda page: page.wait_for_function("document.title === 'after'"),
    "function, true after a second": lambda page: page.wait_for_function("() => document.title === 'after'"),
    "expect(page).to_have_title": lambda page: expect(page).to_have_title("after"),
}


def answer(route):
    if route.request.url.endswith("page.js"):
        route.fulfill(body=SCRIPT, content_type="text/javascript")
    else:
        route.fulfill(body=PAGE, content_type="text/html", headers=headers)


def waited(browser, wait):
    page = browser.new_page()
    page.route("**/*", answer)
    page.goto("http://chat.test/")
    try:
        wait(page)
    except Error as error:
        return str(error).splitlines()[0][:60]
    finally:
        page.close()
    return "waited"


seen = {}
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(
        executable_path=os.environ["CHROMIUM_PATH"], args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    )
    for name, headers in {"without": {}, "with": {"content-security-policy": "script-src 'self'"}}.items():
        for wait, call in WAITS.items():
            seen[name, wait] = waited(browser, call)
    print("playwright", version("playwright"), " Chromium", browser.version)
    browser.close()
print("guess: all wait")
for (name, wait), result in seen.items():
    print(f"seen:  {name} a policy, {wait}: {result}")
failed = [key for key, result in seen.items() if result != "waited"]
if failed != [("with", "expression, true after a second")] or "EvalError" not in seen[failed[0]]:
    sys.exit("The behaviour has changed.")
PY

#!/usr/bin/env bash
# Guess: `deduplicate=True` takes repeated paragraphs out of the page that is read.
# True: trafilatura counts paragraphs over all pages that the process has read. The terms that stand on every page of a
#   shop are kept in the first three pages and missing from the fourth on. A page that is read again is there three times,
#   and from the fourth time on nothing is left of it: `extract` returns None, as it does for a page without text. What a
#   page contains depends on what was read before it, and starts anew with each process.
# For a chat like ours: a nightly training in one long process loses its pages in the fourth night, while the same
#   training by hand works; an answer about the terms quotes three pages out of hundreds. Leave the option out, and
#   compare chunks oneself, within one training.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  trafilatura==2.3.1 lxml==6.1.3 lxml_html_clean==0.4.5
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

from trafilatura import extract

TERMS = ("Returns are accepted for thirty days after delivery when the goods are unused and in their box, and the money is "
         "paid back within five days to the card that was used.")


def page(name):
    return (
        f"<html><body><article><h1>{name}</h1><p>The {name} is made of wood and painted by hand in one of our three "
        "workshops in the north of the country, and every piece is a little different from all the others.</p>"
        f"<p>{TERMS}</p><p>The {name} comes with a warranty of two years for all of its parts, which begins on the day "
        "of delivery, and can be repaired in any of our shops.</p></article></body></html>"
    )


def read(name, **options):
    return extract(page(name), **options) or ""


NAMES = ("table", "chair", "shelf", "bench", "stool")
OTHER = "<html><body><article><h1>Refunds</h1>" + "".join(
    f"<p>{kind}: a refund is paid back within {days} days to the card or the account that was used for the order.</p>"
    for days, kind in enumerate(("Books", "Music", "Toys", "Garden", "Shoes"), 3)
) + "</article></body></html>"
terms = [TERMS in read(name, deduplicate=True) for name in NAMES]
pages = [extract(OTHER, deduplicate=True) is not None for _ in range(5)]
plain = [TERMS in read(name) for name in NAMES]
print("trafilatura", version("trafilatura"))
print("guess: everything is there, since no page repeats itself")
print("seen:  the terms, in five pages:", terms, " without the option:", plain)
print("seen:  one page, read five times, has text:", pages)
if terms != [True] * 3 + [False] * 2 or pages != [True] * 3 + [False] * 2 or not all(plain):
    sys.exit("The behaviour has changed.")
PY

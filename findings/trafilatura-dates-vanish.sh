#!/usr/bin/env bash
# Guess: of a paragraph that trafilatura takes, it takes all words.
# True: what stands in `<time>`, as dates in most blogs and manuals do, is left out, and no gap is left: "Valid from 1 May
#   2026 on" becomes "Valid from on". So is what stands in `<output>`, `<label>` and `<progress>` within a paragraph, an
#   item of a list or a cell of a table, and `<meter>` in a cell; `<mark>`, `<small>` or `<abbr>` are read. An `<aside>`
#   within the article, as the notes and warnings of manuals are, goes as a whole. Paragraphs that the page hides, by
#   `hidden` or `style="display:none"`, are read. On a page with fewer words, of which it takes all, the dates stay.
# For a chat like ours: an assistant answers without the date from which something holds, or says that there is none, and
#   reads out what the page does not show. Rename these elements to `span` before the extraction.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  trafilatura==2.3.1 lxml==6.1.3 lxml_html_clean==0.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

import trafilatura

PAGE = """<html><head><title>Fees</title></head><body><main><article><h1>Fees</h1>
<p>The fee is five euro for a parcel of up to two kilograms, and the customer pays it at the counter, in an app or by card.</p>
{}
<p>Whoever has questions writes to the service, which answers on each working day within a day, in German and in English.</p>
</article></main></body></html>"""
DATE = "1 May 2026"
ELEMENTS = ("time", "output", "label", "progress", "meter", "mark", "small", "abbr")
PLACES = {
    "paragraph": "<p>Valid from <{0}>1 May 2026</{0}> on for all parcels.</p>",
    "item": "<ul><li><{0}>1 May 2026</{0}>: a higher fee</li><li>nothing else</li></ul>",
    "cell": "<table><tr><th>Since</th><th>Fee</th></tr><tr><td><{0}>1 May 2026</{0}></td><td>5</td></tr></table>",
}
BLOCKS = {
    "aside": "<aside><p>Warning: from 1 May 2026 on, the fee is six euro.</p></aside>",
    "display:none": '<p style="display:none">From 1 May 2026 on, the fee is six euro.</p>',
    "hidden": "<p hidden>From 1 May 2026 on, the fee is six euro.</p>",
}


def text_of(part):
    text = trafilatura.extract(
        PAGE.format(part), output_format="markdown", include_tables=True, include_formatting=True, include_comments=False
    )
    return text.split("by card.")[1].split("Whoever")[0].strip()


lost = {
    element: [place for place, markup in PLACES.items() if DATE not in text_of(markup.format(element))]
    for element in ELEMENTS
}
blocks = {name: DATE in text_of(markup) for name, markup in BLOCKS.items()}
print("trafilatura", version("trafilatura"))
print("guess: 1 May 2026 is in each text but those that are hidden")
print("seen: ", repr(text_of(PLACES["paragraph"].format("time"))))
for element, places in lost.items():
    print(f"seen:  <{element}>: lost in", ", ".join(places) or "none")
print("seen:  read:", blocks)
everywhere = ["paragraph", "item", "cell"]
if lost != {
    **dict.fromkeys(("time", "output", "label", "progress"), everywhere),
    "meter": ["cell"],
    **dict.fromkeys(("mark", "small", "abbr"), []),
} or blocks != {"aside": False, "display:none": True, "hidden": True}:
    sys.exit("The behaviour has changed.")
PY

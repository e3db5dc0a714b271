"""The page after the deletion of a user, with the receipt as a download."""

import json
from dataclasses import asdict
from urllib.parse import quote

from fastapi import Request, Response

from datalayer import Receipt
from threadkeeper.web.auth.gate import Person
from threadkeeper.web.pages.shell import PageWriter

LONGEST_FILE_LINK = 1_500_000
"""Characters. Browsers accept URLs up to 2 MB; a receipt lists every row. `receipt.js` links longer ones."""
_FILE_LINK = "data:application/json;charset=utf-8,"


def receipt_page(
    request: Request, pages: PageWriter, template: str, receipt: Receipt, *, person: Person | None
) -> Response:
    """The template with what was deleted."""
    contents = json.dumps(asdict(receipt), ensure_ascii=False, separators=(",", ":"))
    link = _FILE_LINK + quote(contents)
    is_short = len(link) <= LONGEST_FILE_LINK
    votes = receipt.rows.get("feedbacks", 0)
    named = len(receipt.threads) + receipt.messages + votes
    values = {
        "receipt": receipt,
        "votes": votes,
        "others": sum(receipt.rows.values()) - named,
        "file_link": link if is_short else None,
        "contents": None if is_short else contents,
    }
    return pages.page(request, template, values, person=person, saves=not is_short)

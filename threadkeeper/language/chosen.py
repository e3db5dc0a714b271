"""The language that a person chose at `/me`, which their browser keeps in a cookie."""

import re

from threadkeeper.language.negotiation import LANGUAGES

LANGUAGE_COOKIE = "reader_language"
_COOKIE = re.compile(rf'(?:^|;)\s*{LANGUAGE_COOKIE}="?([A-Za-z-]+)"?\s*(?=;|$)')


def chosen_language(cookies: str | None) -> str | None:
    """One of `LANGUAGES`; None without a choice, or with one that is not among them any more.

    Args:
        cookies: the value of a Cookie header. Other cookies in it may break the rules of cookies.
    """
    found = _COOKIE.search(cookies or "")
    return found[1] if found and found[1] in LANGUAGES else None

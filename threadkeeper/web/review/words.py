"""What labels and reasons are called on a page: the usual ones in the reader's language, the operator's own as set."""

from collections.abc import Callable

from threadkeeper.language.catalogue import PAGES
from threadkeeper.web.pages.shell import Say


def label_name(say: Say) -> Callable[[str], str]:
    """Names a label or a reason."""

    def named(value: str) -> str:
        key = f"said_{value}"
        return say(key) if key in PAGES else value

    return named

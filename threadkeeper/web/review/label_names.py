"""The names of labels and reasons: the default ones in the reader's language, the operator's own unchanged."""

from collections.abc import Callable

from threadkeeper.language.catalogue import PAGES
from threadkeeper.web.pages.sentences import Say


def label_name(say: Say) -> Callable[[str], str]:
    """A function that gives the name of a label or a reason."""

    def named(value: str) -> str:
        key = f"label_{value}"
        return say(key) if key in PAGES else value

    return named

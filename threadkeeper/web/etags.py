"""The content that a browser has already, by its `ETag`."""

from starlette.datastructures import Headers


def is_known(asked: Headers, tag: str | None) -> bool:
    """Whether `If-None-Match`, if sent, names this tag, as a weak one or not."""
    tags = [one.strip().removeprefix("W/") for one in asked.get("if-none-match", "").split(",")]
    return tag in tags

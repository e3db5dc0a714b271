"""Where a request goes: the base URL of its provider, and the raw path and query behind the gateway's own address.

A path must stay below the base URL however the provider decodes it. Prompt Sail's parameters `tags`,
`ai_model_version` and `target_path` are taken out of the query; the rest stays as it was sent, byte for byte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, unquote_plus

from yarl import URL

from threadkeeper.gateway.refusals import Refused

_OURS = ("tags", "ai_model_version", "target_path")
_SEPARATORS = re.compile(r"[/\\]")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_RAW = re.compile(r"[!$-~]*")
# A path that changes with each further decoding is meant for a server that decodes too often.
_MOST_DECODINGS = 3


@dataclass(frozen=True, slots=True)
class Target:
    """The address of a request at its provider. `path` is decoded, and includes the path of the base URL."""

    url: URL
    path: str
    tags: tuple[str, ...] = ()
    model_version: str | None = None


def target_of(base_url: str, raw_path: str, query: str, *, without: tuple[str, ...] = ()) -> Target:
    """The target of a request.

    Args:
        base_url: of the provider.
        raw_path: as sent, behind `/gateway/{project}/{provider}/`.
        query: as sent, without the question mark.
        without: further parameters to take out of the query.

    Raises:
        Refused: the path or the query would leave the base URL.
    """
    ours: dict[str, list[str]] = {name: [] for name in _OURS}
    rest = []
    for part in query.split("&") if query else []:
        name, _, value = part.partition("=")
        if (name := unquote_plus(name)) in ours:
            ours[name].append(unquote_plus(value))
        elif name not in without and not unquote_plus(value).startswith("tk_"):
            # A key of ours is for us alone, wherever it was put.
            rest.append(part)
    asked = [path.removeprefix("/") for path in ours["target_path"] if path]
    if asked and raw_path and asked != [raw_path]:
        raise _refused("the path and target_path differ; give one of them")
    path = raw_path or (asked[0] if asked else "")
    _check(path)
    if not _RAW.fullmatch("&".join(rest)) or "#" in query:
        raise _refused("the query has a character that must be percent-encoded")
    base = URL(base_url.rstrip("/"), encoded=True)
    address = f"{base}/{path}" if path else str(base)
    url = URL(f"{address}?{'&'.join(rest)}" if rest else address, encoded=True)
    if url.origin() != base.origin() or url.user is not None:
        raise _refused("the path leads to another host")
    tags = (tag.strip() for value in ours["tags"] for tag in value.split(","))
    version = next(filter(None, ours["ai_model_version"]), None)
    return Target(url, unquote(url.raw_path), tuple(filter(None, tags)), version)


def _check(path: str) -> None:
    if not _RAW.fullmatch(path) or "#" in path or "?" in path:
        raise _refused("the path has a character that must be percent-encoded")
    for _ in range(_MOST_DECODINGS):
        _check_segments(path)
        if (decoded := unquote(path)) == path:
            return
        path = decoded
        if _CONTROL.search(path):
            raise _refused("the path has a control character or a space")
    raise _refused("the path is percent-encoded more than twice")


def _check_segments(path: str) -> None:
    *inner, last = (segment.partition(";")[0] for segment in _SEPARATORS.split(path))
    if "\\" in path or {"", ".", ".."} & set(inner) or last in (".", ".."):
        raise _refused("the path has an empty segment, '.', '..' or a backslash, which could lead to another place")


def _refused(reason: str) -> Refused:
    return Refused(400, "path_refused", f"The gateway does not pass this request on: {reason}.")

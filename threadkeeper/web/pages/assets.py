"""The static files of our pages: style sheets, scripts, and the plotting library.

A file's name contains a hash of its content, so browsers can cache it for a year and never use an old version. Each
file is compressed once.
"""

import gzip
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

from threadkeeper.web.rendering.highlight import style_sheet

# The gate looks up no account for paths below this folder.
FOLDER = "/assets/threadkeeper"
STATIC = Path(__file__).parent / "static"
STYLES = ("frame", "usage", "review", "text", "thread", "me", "threads", "assistants", "knowledge", "admin", "models")
"""The parts of the style sheet, in the order in which they apply. They are served as one file."""
_KEPT = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Asset:
    """A file for browsers."""

    stem: str
    suffix: str
    media_type: str
    content: bytes

    @cached_property
    def name(self) -> str:
        return f"{self.stem}-{hashlib.sha256(self.content).hexdigest()[:16]}{self.suffix}"

    @cached_property
    def packed(self) -> bytes:
        return gzip.compress(self.content, mtime=0)

    @property
    def url(self) -> str:
        return f"{FOLDER}/{self.name}"


class Assets:
    """The files of our pages.

    Args:
        theme: Chainlit's `public/theme.json`, for the colours of the chat, including the operator's own. Without it,
            pages are black on white.
    """

    def __init__(self, theme: Path | None = None) -> None:
        style = b"\n".join((STATIC / "styles" / f"{part}.css").read_bytes() for part in STYLES)
        colours = _colours(theme) if theme and theme.is_file() else ""
        self.style = Asset("pages", ".css", "text/css", colours.encode() + style)
        self.code = Asset("code", ".css", "text/css", style_sheet().encode())
        self.script = _script("pages")
        self.charts = _script("charts")
        self.review = _script("review")
        self.receipt = _script("receipt")

    @cached_property
    def plotly(self) -> Asset:
        """The plotting library from the installed package, read when the first chart is shown.

        It makes no requests to other hosts and does not compile strings into code.
        """
        # find_spec does not run the package.
        spec = find_spec("plotly")
        places = (spec and spec.submodule_search_locations) or ()
        content = next(Path(place, "package_data", "plotly.min.js").read_bytes() for place in places)
        return Asset("plotly", ".js", "text/javascript", content)

    def router(self) -> APIRouter:
        """The public route of the files."""
        router = APIRouter()

        # Runs in a thread: compressing the largest file takes a quarter of a second, once.
        @router.get(FOLDER + "/{name}", include_in_schema=False)
        def read_asset(request: Request, name: str) -> Response:
            small = (self.style, self.code, self.script, self.charts, self.review, self.receipt)
            asset = next((one for one in small if one.name == name), self.plotly)
            if asset.name != name:
                raise HTTPException(404, "There is no such file.")
            headers = {"Cache-Control": _KEPT, "Vary": "Accept-Encoding"}
            packs = "gzip" in request.headers.get("accept-encoding", "")
            headers["Content-Encoding"] = "gzip" if packs else "identity"
            return Response(asset.packed if packs else asset.content, media_type=asset.media_type, headers=headers)

        return router


def _script(stem: str) -> Asset:
    return Asset(stem, ".js", "text/javascript", (STATIC / f"{stem}.js").read_bytes())


def _colours(theme: Path) -> str:
    """The variables of the theme as a style sheet. The theme chosen in the chat overrides the system's."""
    variables = json.loads(theme.read_text(encoding="utf-8"))["variables"]
    light, dark = (
        "".join(f"{name}:{value};" for name, value in variables[variant].items()) for variant in ("light", "dark")
    )
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}\n"
        f"@media print{{:root:root{{color-scheme:light;{light}}}}}\n"
    )

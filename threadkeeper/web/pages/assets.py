"""What our pages are made of besides their words: style, scripts, the library that draws. Served by us, kept for long.

The name of a file carries a hash of its bytes, so that a browser may keep it for a year and never has an old one. Each
is compressed once, and not for every visit.
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

# The gate looks up no account for what is under this folder.
FOLDER = "/assets/threadkeeper"
STATIC = Path(__file__).parent / "static"
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
        theme: Chainlit's `public/theme.json`: our pages have the colours of the chat, the operator's own included.
            Without one they are black on white.
    """

    def __init__(self, theme: Path | None = None) -> None:
        style = (STATIC / "pages.css").read_bytes()
        colours = _colours(theme) if theme and theme.is_file() else ""
        self.style = Asset("pages", ".css", "text/css", colours.encode() + style)
        self.code = Asset("code", ".css", "text/css", style_sheet().encode())
        self.script = _script("pages")
        self.charts = _script("charts")
        self.review = _script("review")

    @cached_property
    def plotly(self) -> Asset:
        """The plotting library, from the installed package: it asks no other host and compiles no text into code.

        Read when the first chart is shown.
        """
        # find_spec does not run the package.
        spec = find_spec("plotly")
        places = (spec and spec.submodule_search_locations) or ()
        content = next(Path(place, "package_data", "plotly.min.js").read_bytes() for place in places)
        return Asset("plotly", ".js", "text/javascript", content)

    def router(self) -> APIRouter:
        """The route under which the files are served, to everyone."""
        router = APIRouter()

        # Not asynchronous: packing the largest takes a quarter of a second, once.
        @router.get(FOLDER + "/{name}", include_in_schema=False)
        def read_asset(request: Request, name: str) -> Response:
            small = (self.style, self.code, self.script, self.charts, self.review)
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
    """The variables of the theme as a style sheet: as the system asks, unless the reader chose in the chat."""
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

"""Chainlit's page without requests to other hosts, and without losing words.

The page inside the chainlit package loads Google's fonts and KaTeX's style sheet from a CDN: every visit would reveal
the reader to two other parties, and a closed network would wait for them. `prepare_frontend` makes a directory with the
same page without those links. Its scripts and styles are the package's own files, but for the one that reads Markdown
(`threadkeeper.web.directives`). What the page may load while it runs is decided in `threadkeeper.web.security`.
"""

import hashlib
import logging
import os
import re
import shutil
import tempfile
from html.parser import HTMLParser
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from threadkeeper.web.directives import RULE, without_directives

logger = logging.getLogger(__name__)

PLACEHOLDERS = ("TAG INJECTION PLACEHOLDER", "JS INJECTION PLACEHOLDER", "CSS INJECTION PLACEHOLDER")

_HOST_IN_ATTRIBUTE = re.compile(r"(?:https?:|wss?:)//|(?:^|[\s,('\"=])//[^\s/]", re.IGNORECASE)
_SCRIPT = re.compile(r'src="/assets/([\w.-]+\.js)"')
_HOST_IN_TEXT = re.compile(r"(?:https?:|wss?:)//|[('\"`]//[^\s/]", re.IGNORECASE)


class FrontendError(RuntimeError):
    """Chainlit's front end is missing, or cannot be served without other hosts."""


def prepare_frontend(target: Path) -> Path:
    """Make the front end under `target`; returns the directory for `chainlit.server.build_dir`.

    The directory is named after Chainlit's version and the page's content, so later calls and concurrent processes
    reuse it. Directories of older versions are kept, because another replica may still serve them.

    Raises:
        FrontendError: the installed page is not as expected, above all if it still loads from another host.
        OSError: `target` cannot be written.
    """
    packaged = _packaged_frontend()
    page = localize_page((packaged / "index.html").read_text(encoding="utf-8"))
    fingerprint = hashlib.sha256(f"{packaged}\n{page}\n{RULE}".encode()).hexdigest()[:12]
    directory = target / f"chainlit-{version('chainlit')}-{fingerprint}"
    if _is_complete(directory, packaged, page):
        return directory

    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".making-", ignore_cleanup_errors=True) as scratch:
        made = Path(scratch, "frontend")
        # Source maps are most of the bytes, and for developers of Chainlit.
        shutil.copytree(packaged, made, ignore=shutil.ignore_patterns("*.map"), copy_function=_link_or_copy)
        _replace(made / "index.html", page)
        _mend_scripts(made / "assets", page)
        try:
            if directory.exists() and not _is_complete(directory, packaged, page):
                directory.rename(Path(scratch, "incomplete"))
            made.rename(directory)
        except OSError:
            # Another process was faster. The name guarantees the same content.
            if not _is_complete(directory, packaged, page):
                raise
    return directory


def localize_page(page: str) -> str:
    """Chainlit's index.html without the links to other hosts.

    Raises:
        FrontendError: something other than a link names another host, or a placeholder is missing into which Chainlit
            writes the title, the theme or the style sheet.
    """
    localizer = _Localizer(page)
    localizer.feed(page)
    localizer.close()
    if localizer.dropped:
        logger.debug("removed from Chainlit's page: %s", ", ".join(localizer.dropped))
    localized = localizer.localized()
    for placeholder in PLACEHOLDERS:
        if f"<!-- {placeholder} -->" not in localized:
            raise FrontendError(f"Chainlit's page has no '{placeholder}' any more: {_UNEXPECTED_VERSION}")
    return localized


_UNEXPECTED_VERSION = "this version of Chainlit is not supported. Install the version in requirements.lock."


class _Localizer(HTMLParser):
    """Finds the parts of the source to cut out. Everything else stays byte for byte."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=False)
        self.dropped: list[str] = []
        self._page = page
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", page))]
        self._cuts: list[tuple[int, int]] = []

    def localized(self) -> str:
        pieces, position = [], 0
        for start, end in self._cuts:
            pieces.append(self._page[position:start])
            position = end
        return "".join([*pieces, self._page[position:]])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and not name.startswith("xmlns") and _names_host_in_attribute(value):
                if tag != "link":
                    raise FrontendError(
                        f"Chainlit's page asks another host, <{tag} {name}={value!r}> on line {self.getpos()[0]}: "
                        f"{_UNEXPECTED_VERSION}"
                    )
                self.dropped.append(value)
                self._cuts.append(self._place())
                return

    def handle_data(self, data: str) -> None:
        if found := _HOST_IN_TEXT.search(data):
            raise FrontendError(
                f"Chainlit's page names another host, {data[found.start() : found.start() + 60]!r} "
                f"after line {self.getpos()[0]}: {_UNEXPECTED_VERSION}"
            )

    def _place(self) -> tuple[int, int]:
        """The range of the tag in the source, or of its whole line if nothing else is on it."""
        line, column = self.getpos()
        start = self._line_starts[line - 1] + column
        end = start + len(self.get_starttag_text() or "")
        line_start = self._page.rfind("\n", 0, start) + 1
        line_end = self._page.find("\n", end) + 1
        alone = line_end and not self._page[line_start:start].strip() and not self._page[end:line_end].strip()
        return (line_start, line_end) if alone else (start, end)


def _names_host_in_attribute(value: str) -> bool:
    return not value.lstrip().startswith("data:") and _HOST_IN_ATTRIBUTE.search(value) is not None


def _packaged_frontend() -> Path:
    # find_spec does not run the package: importing chainlit reads its configuration and creates directories.
    spec = find_spec("chainlit")
    for location in (spec and spec.submodule_search_locations) or ():
        frontend = Path(location, "frontend", "dist").resolve()
        if (frontend / "index.html").is_file() and (frontend / "assets").is_dir():
            return frontend
    raise FrontendError("The chainlit package is not installed, or was installed without its built front end.")


def _is_complete(directory: Path, packaged: Path, page: str) -> bool:
    index = directory / "index.html"
    return (
        index.is_file()
        and index.read_text(encoding="utf-8") == page
        and all(
            (directory / file.relative_to(packaged)).exists() for file in packaged.rglob("*") if file.suffix != ".map"
        )
    )


def _mend_scripts(assets: Path, page: str) -> None:
    """Replace the page's script that reads Markdown."""
    for name in _SCRIPT.findall(page):
        if mended := without_directives((assets / name).read_text(encoding="utf-8")):
            _replace(assets / name, mended)
            return
    logger.warning("Chainlit's page may hide words that begin with a colon: its reader of Markdown was not found")


def _replace(file: Path, text: str) -> None:
    # It may be a link to the package's own file.
    file.unlink()
    file.write_text(text, encoding="utf-8")


def _link_or_copy(source: str, destination: str) -> None:
    """A hard link: Chainlit serves no symbolic link that leads out of the folder."""
    try:
        os.link(source, destination)
    except OSError:
        # Another file system, or one without links.
        shutil.copyfile(source, destination)

"""Install requirements into the environment of the running Python, with pip, and show the progress.

`python scripts/install.py --no-deps -r requirements.lock`; the arguments are those of `pip install`. pip alone prints
either three lines for each package or nothing. An installation that was interrupted is finished by the next one.
"""

import contextlib
import itertools
import queue
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO

_SITE_PACKAGES = Path(sysconfig.get_path("purelib"))
# Between two lines where the output is a file or a pipe; a terminal has one line that is written over.
_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_LOOKS = 0.3
_LINES_SHOWN_ON_FAILURE = 40
# A line for each package: of an index, installed already, a file on this disk, or this project itself.
_PACKAGE = re.compile(
    r"\s*(?:(?:Collecting|Requirement already satisfied:) (?P<name>[^\s=<>!~;@(]+)"
    r"|Processing \S*/(?P<file>[^\s/-]+)-\S*|(?P<project>Obtaining) )"
)


def remove_half_installed(site_packages: Path = _SITE_PACKAGES) -> None:
    """Remove the metadata of half-installed packages, so that pip installs them again.

    pip adds INSTALLER to the RECORD of a distribution when all of its files are there.
    """
    for metadata in site_packages.glob("*.dist-info"):
        record = metadata / "RECORD"
        if not record.exists() or "dist-info/INSTALLER" not in record.read_text(encoding="utf-8"):
            shutil.rmtree(metadata)


class Progress:
    """The state of an installation, read from pip's output, shown as one line."""

    def __init__(self, arguments: list[str]) -> None:
        self._to_fetch = _count_requirements(arguments)
        self.last_lines: deque[str] = deque(maxlen=_LINES_SHOWN_ON_FAILURE)
        self._fetched = 0
        self._name = ""
        self._to_install = 0
        self._installed_before = 0
        self._shown = ""
        self._phase_shown = ""
        self._shown_at = 0.0

    def read(self, line: str) -> None:
        self.last_lines.append(line)
        if package := _PACKAGE.match(line):
            self._fetched += 1
            self._name = package["name"] or package["file"] or "this project"
        elif line.startswith("Ignoring "):
            # Its marker is of another system or another Python.
            self._to_fetch -= 1
        elif line.startswith("Installing collected packages: "):
            self._to_install = line.count(",") + 1
            self._installed_before = _count_installed()
        elif line.startswith(("WARNING: Retrying", "ERROR:")):
            self._write_line(line.rstrip(), sys.stderr)

    def show(self) -> None:
        text = self._text()
        phase = text.partition(":")[0]
        if text == self._shown:
            return
        if sys.stdout.isatty():
            sys.stdout.write(f"\r{text}\033[K")
        elif phase != self._phase_shown or time.monotonic() - self._shown_at >= _SECONDS_BETWEEN_LINES:
            sys.stdout.write(f"{text}\n")
            self._shown_at = time.monotonic()
        else:
            return
        sys.stdout.flush()
        self._shown, self._phase_shown = text, phase

    def end(self, sentence: str) -> None:
        self._write_line(sentence, sys.stdout)

    def _text(self) -> str:
        if self._to_install:
            installed = min(_count_installed() - self._installed_before, self._to_install)
            return f"  installing: {installed} of {self._to_install} packages"
        if self._fetched:
            return f"  fetching: {self._fetched} of {self._to_fetch} packages ({self._name})"
        return "  starting pip"

    @staticmethod
    def _write_line(text: str, stream: IO[str]) -> None:
        # A line that was being written over on a terminal gives way.
        stream.write(f"\r{text}\033[K\n" if stream.isatty() else f"{text}\n")
        stream.flush()


def install(arguments: list[str]) -> int:
    """Run `pip install` with these arguments and give its exit code."""
    remove_half_installed()
    began = time.monotonic()
    progress = Progress(arguments)
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar=off", *arguments]
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    with subprocess.Popen(
        pip, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
        reader.start()
        while reader.is_alive() or not lines.empty():
            with contextlib.suppress(queue.Empty):
                progress.read(lines.get(timeout=_SECONDS_BETWEEN_LOOKS))
            progress.show()
    if process.returncode:
        progress.end("pip failed. The end of its output:")
        sys.stderr.writelines(progress.last_lines)
    else:
        progress.end(f"  done after {time.monotonic() - began:.0f} seconds")
    return process.returncode


def _read(stream: IO[str], lines: "queue.SimpleQueue[str]") -> None:
    for line in stream:
        lines.put(line)


def _count_requirements(arguments: list[str]) -> int:
    """How many packages these arguments of `pip install --no-deps` name."""
    count = 0
    for option, value in itertools.pairwise(arguments):
        if option == "-r":
            lines = Path(value).read_text(encoding="utf-8").splitlines()
            count += sum(1 for line in lines if line and not line.startswith((" ", "#")))
        elif option == "--editable":
            count += 1
    return count


def _count_installed() -> int:
    return sum(1 for _ in _SITE_PACKAGES.glob("*.dist-info"))


if __name__ == "__main__":
    try:
        sys.exit(install(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The next make finishes the installation.")

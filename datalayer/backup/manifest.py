"""The manifest of a backup: one line of JSON about the backup, and then one for each file.

A backup is a folder with the manifest, the copy of the database and the folder `files`, in which each file has its key
as its path. The manifest gets its name at the end, so a folder with `manifest.jsonl` is a finished backup.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from datalayer.blobs.base import is_key
from datalayer.errors import BackupError

FORMAT = 1
MANIFEST = "manifest.jsonl"
UNFINISHED = "manifest.part.jsonl"
FILES = "files"
SQLITE_COPY = "database.db"
POSTGRES_DUMP = "database.dump"
_CHUNK = 1024 * 1024
_POSTGRES_DUMP_BEGINS = b"PGDMP"


@dataclass(frozen=True, slots=True)
class BackupHeader:
    """The first line of the manifest. `engine` is sqlite or postgresql; sizes are in bytes, times in UTC."""

    engine: str
    database: str
    """The name of the file with the copy of the database."""
    database_bytes: int
    database_sha256: str
    begun_at: str
    finished_at: str
    files: int
    bytes: int
    missing: int
    """How many files were missing in the store, although rows name them."""
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class BackupFile:
    """A file of the backup. `mime` and `name` are those of its row, and are None if it had no row any more."""

    key: str
    size: int
    sha256: str
    mime: str | None = None
    name: str | None = None


def write_manifest(folder: Path, header: BackupHeader) -> None:
    """Put the header before the lines, and give the manifest its name: the backup is finished."""
    lines = folder / UNFINISHED
    with _new(folder / f".{MANIFEST}") as manifest:
        manifest.write(_line(asdict(header)))
        with lines.open(encoding="utf-8") as written:
            while some := written.read(_CHUNK):
                manifest.write(some)
        manifest.flush()
        os.fsync(manifest.fileno())
    (folder / f".{MANIFEST}").replace(folder / MANIFEST)
    lines.unlink()
    sync_folder(folder)


def new_lines(folder: Path) -> TextIO:
    """The file for the lines of a manifest that is not finished. Lines of an interrupted backup are overwritten."""
    return _new(folder / UNFINISHED)


def line_of(file: BackupFile) -> str:
    return _line(asdict(file))


def read_header(folder: Path) -> BackupHeader:
    """The header of a finished backup.

    Raises:
        BackupError: the folder is not a finished backup, or of another format.
    """
    if not (folder / MANIFEST).is_file():
        unfinished = (folder / UNFINISHED).is_file()
        raise BackupError(
            f"the backup in {folder} is not finished; run `threadkeeper backup` again to continue it"
            if unfinished
            else f"{folder} is not a backup: it has no {MANIFEST}"
        )
    with (folder / MANIFEST).open("rb") as manifest:
        written = _parsed(manifest.readline(), folder)
    if written.get("format") != FORMAT:
        raise BackupError(f"the backup in {folder} has the format {written.get('format')}; this version reads 1")
    try:
        return BackupHeader(**written)
    except TypeError:
        raise _damaged(folder) from None


def read_files(folder: Path) -> Iterator[BackupFile]:
    """The files of a finished backup, read one after another.

    Raises:
        BackupError: a line is damaged.
    """
    with (folder / MANIFEST).open("rb") as manifest:
        manifest.readline()
        for line in manifest:
            try:
                file = BackupFile(**_parsed(line, folder))
            except TypeError:
                raise _damaged(folder) from None
            if not is_key(file.key):
                raise _damaged(folder)
            yield file


def check_lines(folder: Path, header: BackupHeader) -> None:
    """Require a readable line for each file of the header: a manifest that was cut short would lose files silently.

    Raises:
        BackupError: the manifest is damaged.
    """
    if sum(1 for _ in read_files(folder)) != header.files:
        raise _damaged(folder)


def measure(file: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file."""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256")
    return file.stat().st_size, digest.hexdigest()


def is_postgres_dump(file: Path) -> bool:
    """Whether the file begins as a dump in Postgres' custom format."""
    with file.open("rb") as content:
        return content.read(len(_POSTGRES_DUMP_BEGINS)) == _POSTGRES_DUMP_BEGINS


def logs_of(sqlite: Path) -> list[Path]:
    """The files that SQLite keeps beside this database."""
    return [sqlite.with_name(f"{sqlite.name}-{kind}") for kind in ("wal", "shm", "journal")]


def sync_folder(folder: Path) -> None:
    """Make the names in the folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _new(path: Path) -> TextIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8")


def _line(values: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in values.items() if value is not None}, ensure_ascii=False) + "\n"


def _parsed(line: bytes, folder: Path) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        raise _damaged(folder) from None
    if not isinstance(found, dict):
        raise _damaged(folder)
    return found


def _damaged(folder: Path) -> BackupError:
    return BackupError(f"the manifest {folder / MANIFEST} is damaged; nothing was restored")

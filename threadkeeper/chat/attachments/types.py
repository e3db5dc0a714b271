"""The types of uploads that the page and Chainlit accept, before a file is read.

Browsers send odd types for text files: application/octet-stream for ``.md`` or ``.py``, a video for ``.ts``, Excel for
``.csv``. So these types are accepted beside ``text/*``, but only with the extension of a text file; `reader` then looks
at the bytes.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, get_args

AttachmentKind = Literal["picture", "pdf", "text", "document"]
ALL_KINDS: tuple[AttachmentKind, ...] = get_args(AttachmentKind)

_EXTENSIONS = """
    .txt .text .md .markdown .rst .adoc .org .log .tex .bib .srt .vtt .eml .ics .vcf .diff .patch
    .csv .tsv .json .jsonl .ndjson .json5 .geojson .ipynb .xml .xsd .xsl .yaml .yml .toml .ini
    .cfg .conf .env .properties
    .html .htm .xhtml .css .scss .sass .less .svg .vue .svelte .js .mjs .cjs .jsx .ts .mts .tsx
    .py .pyi .pyx .r .jl .m .c .h .cc .cpp .cxx .hh .hpp .cs .fs .vb .go .rs .zig .java .kt .kts .scala .groovy .gradle
    .rb .php .pl .pm .lua .swift .mm .dart .ex .exs .erl .hs .ml .clj .lisp .el .scm .asm .s .v .vhd
    .sql .graphql .proto .sh .bash .zsh .fish .ps1 .bat .cmd .dockerfile .tf .hcl .nix .cmake .mk
    .gitignore .editorconfig
"""

# Types outside text/* under which browsers and operating systems send the files above.
_TYPES = """
    application/json application/ld+json application/geo+json application/jsonl application/x-ndjson
    application/x-jsonlines application/x-ipynb+json application/xml application/xhtml+xml application/xslt+xml
    image/svg+xml application/yaml application/x-yaml application/toml application/javascript application/x-javascript
    application/ecmascript application/typescript application/x-typescript application/x-python
    application/x-python-code
    application/x-sh application/x-shellscript application/x-csh application/x-bat application/x-powershell
    application/sql application/x-sql application/graphql application/x-tex application/x-latex application/x-bibtex
    application/x-php application/x-httpd-php application/x-ruby application/x-perl application/x-subrip
    application/x-wine-extension-ini application/vnd.dart application/rls-services+xml message/rfc822
"""

TEXT_EXTENSIONS = tuple(_EXTENSIONS.split())
TEXT_TYPES = tuple(_TYPES.split())

_OFFICE = "application/vnd.openxmlformats-officedocument"
# Word, Excel and OpenDocument. Where no such program is installed, browsers send them as application/octet-stream.
DOCUMENT_TYPES: dict[str, tuple[str, ...]] = {
    f"{_OFFICE}.wordprocessingml.document": (".docx",),
    "application/vnd.ms-word.document.macroenabled.12": (".docm",),
    f"{_OFFICE}.spreadsheetml.sheet": (".xlsx",),
    "application/vnd.ms-excel": (".xls",),
    "application/vnd.ms-excel.sheet.macroenabled.12": (".xlsm",),
    "application/vnd.ms-excel.sheet.binary.macroenabled.12": (".xlsb",),
    "application/vnd.oasis.opendocument.text": (".odt",),
    "application/vnd.oasis.opendocument.spreadsheet": (".ods",),
    "application/vnd.oasis.opendocument.presentation": (".odp",),
}
DOCUMENT_EXTENSIONS = tuple(extension for extensions in DOCUMENT_TYPES.values() for extension in extensions)

# Types of other formats under which browsers send text files.
_MISTAKEN: dict[str, tuple[str, ...]] = {
    "application/octet-stream": TEXT_EXTENSIONS,
    "application/vnd.ms-excel": (".csv", ".tsv"),
    "application/x-msdownload": (".bat", ".cmd"),
    "video/mp2t": (".ts", ".mts"),
    "video/vnd.dlna.mpeg-tts": (".ts", ".mts"),
}


def accepted_uploads(kinds: Collection[AttachmentKind] = ALL_KINDS, *, vision: bool = True) -> dict[str, list[str]]:
    """Types and their extensions (an empty list: any), for Chainlit's `features.spontaneous_file_upload.accept`."""
    pictures = {
        "image/png": [".png"],
        "image/jpeg": [".jpg", ".jpeg"],
        "image/gif": [".gif"],
        "image/webp": [".webp"],
    }
    texts = {mime: list(TEXT_EXTENSIONS) for mime in TEXT_TYPES}
    mistaken = {mime: list(extensions) for mime, extensions in _MISTAKEN.items()}
    accepted: dict[str, list[str]] = {
        **({"text/*": []} if "text" in kinds else {}),
        **({"application/pdf": [".pdf"]} if "pdf" in kinds else {}),
        **(pictures if "picture" in kinds and vision else {}),
        **({**texts, **mistaken} if "text" in kinds else {}),
    }
    if "document" in kinds:
        for mime, extensions in ({"application/octet-stream": DOCUMENT_EXTENSIONS} | DOCUMENT_TYPES).items():
            accepted[mime] = [*accepted.get(mime, []), *extensions]
    return accepted

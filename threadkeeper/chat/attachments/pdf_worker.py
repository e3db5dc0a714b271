"""The program that `pdf` runs: reads a PDF from standard input and writes its text as JSON to standard output.

Arguments: maximum of pages, maximum of characters. A broken file ends it with a traceback and exit status 1.
"""

from __future__ import annotations

import io
import json
import sys

from pypdf import PdfReader

_MEMORY_BYTES = 2 * 1024**3


def text_of(data: bytes, max_pages: int, max_characters: int) -> dict[str, object]:
    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        return {"refused": "encrypted"}
    total, texts, characters, found = len(reader.pages), [], 0, False
    for number in range(1, min(total, max_pages) + 1):
        text = reader.pages[number - 1].extract_text().strip()
        found = found or bool(text)
        texts.append(f"[Page {number}]\n{text}\n")
        characters += len(texts[-1])
        if characters >= max_characters:
            break
    if not found:
        return {"refused": "without_text"}
    text = "\n".join(texts)
    return {"text": text[:max_characters], "characters": len(text), "pages_read": len(texts), "pages": total}


def main() -> None:
    if sys.platform != "win32":
        import resource  # noqa: PLC0415

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    max_pages, max_characters = int(sys.argv[1]), int(sys.argv[2])
    result = text_of(sys.stdin.buffer.read(), max_pages, max_characters)
    # ASCII, because some fonts give lone surrogates, which UTF-8 cannot encode.
    sys.stdout.buffer.write(json.dumps(result).encode("ascii"))


if __name__ == "__main__":
    main()

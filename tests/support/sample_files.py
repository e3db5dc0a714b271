"""Small real files for attachments."""

import io

from fpdf import FPDF
from PIL import Image
from playwright.async_api import FilePayload

from tests.support.office_files import word


def picture(name: str) -> FilePayload:
    content = io.BytesIO()
    Image.new("RGB", (64, 48), (12, 122, 100)).save(content, "PNG")
    return FilePayload(name=name, mimeType="image/png", buffer=content.getvalue())


def text_file(name: str, text: str) -> FilePayload:
    return FilePayload(name=name, mimeType="text/plain", buffer=text.encode())


def pdf(name: str, *pages: str) -> FilePayload:
    document = FPDF()
    document.set_font("Helvetica", size=14)
    for text in pages:
        document.add_page()
        document.cell(text=text)
    return FilePayload(name=name, mimeType="application/pdf", buffer=bytes(document.output()))


def word_file(name: str, *paragraphs: str) -> FilePayload:
    mime = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    return FilePayload(name=name, mimeType=mime, buffer=word(*paragraphs))


def archive(name: str) -> FilePayload:
    return FilePayload(name=name, mimeType="application/zip", buffer=b"PK\x05\x06" + bytes(18))

"""Uploads become a picture or text, or are refused with a reason."""

from __future__ import annotations

import asyncio
import fnmatch
import io
import logging
import time
from typing import Any

import pytest
from fpdf import FPDF
from fpdf.enums import AccessPermission, EncryptionMethod
from PIL import Image

from threadkeeper.chat.attachments.reader import AttachmentReader, AttachmentRefused, Picture, TextAttachment
from threadkeeper.chat.attachments.types import ALL_KINDS, TEXT_EXTENSIONS, accepted_uploads

GERMAN = "Grüße aus Köln: Füße, Äpfel, weiß\n"
MEBIBYTE = 1024 * 1024
CHINESE = "你好，世界。今天天气很好，我们去公园散步吧。\n"


def picture(form: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), "red").save(buffer, form)
    return buffer.getvalue()


def pdf(*pages: str | None, password: str | None = None, scanned: bool = False, pictured: bool = False) -> bytes:
    """A page of None, and with `scanned` each page, is only a picture; with `pictured`, each has one beside text."""
    document = FPDF()
    document.set_font("helvetica", size=12)
    if password is not None:
        document.set_encryption(
            owner_password="owner",
            user_password=password,
            permissions=AccessPermission.all(),
            encryption_method=EncryptionMethod.AES_256,
        )
    for text in pages:
        document.add_page()
        if scanned or pictured or text is None:
            document.image(io.BytesIO(picture("PNG")), w=50)
        if not scanned and text is not None:
            document.multi_cell(0, text=text)
    return bytes(document.output())


async def read(name: str, data: bytes, mime: str | None = None, **limits: Any) -> Picture | TextAttachment:
    return await AttachmentReader(**limits).read(name, mime, data)


async def text_of(name: str, data: bytes, mime: str | None = None, **limits: Any) -> TextAttachment:
    attachment = await read(name, data, mime, **limits)
    assert isinstance(attachment, TextAttachment)
    return attachment


async def refusal(name: str, data: bytes, mime: str | None = None, **limits: Any) -> str:
    with pytest.raises(AttachmentRefused) as caught:
        await read(name, data, mime, **limits)
    for language in ("en", "zh"):
        assert name in caught.value.notice.say(language)
    return caught.value.notice.key


@pytest.mark.parametrize(
    ("form", "mime"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("GIF", "image/gif"), ("WEBP", "image/webp")]
)
async def test_a_picture_is_recognised_by_its_bytes(form: str, mime: str) -> None:
    data = picture(form)
    for name, claimed in [("a.png", "image/png"), ("a.txt", "text/plain"), ("a", None)]:
        attachment = await read(name, data, claimed)
        assert isinstance(attachment, Picture)
        assert (attachment.mime, attachment.data) == (mime, data)
        assert attachment.data_url.startswith(f"data:{mime};base64,")


@pytest.mark.parametrize(
    ("name", "mime", "data"),
    [
        ("a.bmp", "image/bmp", picture("BMP")),
        ("a.png", "image/png", b"<html>not a picture</html>"),
        ("a.zip", "application/zip", b"PK\x03\x04" + bytes(50)),
        (
            "a.docx",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            b"PK\x03\x04" + bytes(50),
        ),
        ("a.mp3", "audio/mpeg", b"ID3\x04" + bytes(50)),
        ("a.txt", "text/plain", b"text and \x00 more"),
        ("a.txt", "text/plain", bytes(range(256))),
        ("a.py", "", b"\x7fELF\x02\x01\x01\x00"),
        ("noname", "", b"\xff\xfb\x90\x64" + bytes(20)),
        ("a.rtf", "text/rtf", rb"{\rtf1 text}"),
    ],
)
async def test_other_files_are_refused_with_a_reason(name: str, mime: str, data: bytes) -> None:
    assert await refusal(name, data, mime) == "attachment_unsupported"


@pytest.mark.parametrize(
    ("name", "mime"),
    [
        ("a.md", ""),
        ("a.py", "application/octet-stream"),
        ("A.CSV", "application/vnd.ms-excel"),
        ("a.ts", "video/mp2t"),
        ("a.json", "application/json"),
        ("a.unknown", "text/x-unknown; charset=utf-8"),
        ("Makefile", "application/octet-stream"),
        ("LICENSE", None),
    ],
)
async def test_text_is_read_under_many_names_and_types(name: str, mime: str | None) -> None:
    assert (await text_of(name, b"some text", mime)).text == "some text"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (GERMAN.encode(), GERMAN),
        (CHINESE.encode(), CHINESE),
        (GERMAN.encode("utf-8-sig"), GERMAN),
        (CHINESE.encode("utf-16"), CHINESE),
        (b"\xfe\xff" + CHINESE.encode("utf-16-be"), CHINESE),
        (CHINESE.encode("gb18030"), CHINESE),
        (b"a\r\nb\rc\n", "a\nb\rc\n"),
    ],
)
async def test_the_encoding_is_detected(data: bytes, text: str) -> None:
    attachment = await text_of("a.txt", data)
    assert attachment.text == text
    assert attachment.notices == ()


@pytest.mark.parametrize("text", [GERMAN, "Ägypten, Übung, schön\n", "“quoted” – and 5 €\n"])
async def test_a_guessed_encoding_is_reported(text: str) -> None:
    attachment = await text_of("a.txt", text.encode("windows-1252"))
    assert attachment.text == text
    assert [notice.key for notice in attachment.notices] == ["notice_encoding"]
    assert "Windows-1252" in attachment.notices[0].say("en")


TRADITIONAL = "這是一個繁體中文的測試文件，內容很短。\n"


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        (TRADITIONAL.encode("big5"), TRADITIONAL, "Big5"),
        # Cut by its bytes, or with one byte of another encoding.
        (("你好世界" * 9).encode()[:-1], "你好世界" * 8 + "你好世\ufffd", "UTF-8"),
        (("你好世界\n" * 9).encode() + b"5 \xa3", "你好世界\n" * 9 + "5 \ufffd", "UTF-8"),
    ],
)
async def test_other_chinese_text_is_read_with_a_notice(data: bytes, text: str, encoding: str) -> None:
    attachment = await text_of("a.txt", data)
    assert attachment.text == text
    assert [notice.key for notice in attachment.notices] == ["notice_encoding"]
    assert encoding in attachment.notices[0].say("en")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("안녕하세요. 오늘 회의는 오후 세 시에 시작합니다.\n", "EUC-KR"),
        ("이름,도시\nAda,서울\nBob,부산\n", "EUC-KR"),
        ("本日の会議は午後三時に始まります。資料をお読みください。\n", "EUC-JP"),
        ("本日の会議は午後三時に始まります。資料をお読みください。\n", "Shift_JIS"),
        ("# 設定を読む\nprint('おわり')\n", "Shift_JIS"),
        ("今天的會議下午三點開始。請提前閱讀資料。\n", "Big5-HKSCS"),
        ("Сегодняшнее собрание начнётся в три часа.\n", "Windows-1251"),
        ("Сегодняшнее собрание начнётся в три часа.\n", "KOI8-R"),
        ("Η σημερινή συνάντηση αρχίζει στις τρεις το απόγευμα.\n", "Windows-1253"),
        ("הפגישה היום מתחילה בשעה שלוש אחר הצהריים.\n", "Windows-1255"),
        ("يبدأ اجتماع اليوم في الساعة الثالثة بعد الظهر.\n", "Windows-1256"),
    ],
)
@pytest.mark.parametrize("times", [1, 4000])
async def test_text_of_other_scripts_is_read_with_a_notice(text: str, encoding: str, times: int) -> None:
    attachment = await text_of("a.txt", (text * times).encode(encoding), max_characters=10_000_000)
    assert attachment.text == text * times
    assert encoding in attachment.notices[0].say("en")


@pytest.mark.parametrize(
    "text",
    [
        "你好世界",
        "退款需要多少天？",
        "name,城市\nAda,上海\n",
        "# 读取配置文件\nprint('完成')\n",
        "对话无法恢复，请重新开始。",
    ],
)
async def test_short_chinese_text_is_no_text_of_another_script(text: str) -> None:
    attachment = await text_of("a.txt", text.encode("gb18030"))
    assert (attachment.text, attachment.notices) == (text, ())


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Список: молоко, хлеб\n", "KOI8-R"),
        ("Список: молоко, хлеб\n", "ISO-8859-5"),
        ("สวัสดี", "CP874"),
        ("名前,都市\n太郎,東京\n", "EUC-JP"),
        ("Čeština je těžká.\n", "Windows-1250"),
    ],
)
async def test_a_short_text_that_is_taken_for_another_is_reported(text: str, encoding: str) -> None:
    """A few letters do not tell these encodings apart. The notice says what to do."""
    attachment = await text_of("a.txt", text.encode(encoding))
    assert [notice.key for notice in attachment.notices] == ["notice_encoding"]
    assert "save the file as UTF-8" in attachment.notices[0].say("en")
    assert "UTF-8" in attachment.notices[0].say("zh-CN")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Příliš žluťoučký kůň\n", "Windows-1250"),
        ("imię,miasto\nZażółć,Łódź\n", "Windows-1250"),
        ("Zażółć gęślą jaźń\n", "ISO-8859-2"),
        ("L’été à Montréal, 5 m³ – déjà ¿no?\n", "Windows-1252"),
        ("李雷和韩梅梅去北京。", "GB18030"),
        ("a,b\nüber,你\n", "UTF-16-LE"),
        ("a,b\nüber,你\n", "UTF-16-BE"),
    ],
)
async def test_signs_within_words_and_zeros_tell_the_encoding(text: str, encoding: str) -> None:
    attachment = await text_of("a.csv", text.encode(encoding))
    assert attachment.text == text
    assert all(encoding in notice.say("en") for notice in attachment.notices)
    assert bool(attachment.notices) != encoding.startswith("UTF")


async def test_two_characters_are_read_as_chinese_and_reported() -> None:
    """They could be Korean as well."""
    attachment = await text_of("a.txt", "发票".encode("gb18030"))
    assert (attachment.text, len(attachment.notices)) == ("发票", 1)


@pytest.mark.parametrize("data", [b"\xef\xbb\xbf", b"\xff\xfe", b" \r\n\t\n", "\u3000\n".encode()])
async def test_a_text_without_a_character_is_empty(data: bytes) -> None:
    with pytest.raises(AttachmentRefused) as refused:
        await text_of("a.txt", data)
    assert refused.value.notice.key == "attachment_empty"


async def test_a_long_text_is_cut_and_the_model_and_the_user_are_notified() -> None:
    attachment = await text_of("a.txt", b"0123456789" * 100, max_characters=15)
    assert attachment.text.startswith("012345678901234\n[The file goes on")
    assert "first 15 of its 1000 characters" in attachment.text
    assert "first 15 of 1,000" in attachment.notices[0].say("en")


async def test_a_large_text_is_read_too() -> None:
    text = GERMAN * 20_000
    assert (await text_of("a.txt", text.encode(), max_characters=10_000_000)).text == text


async def test_an_empty_and_a_too_large_file_are_refused() -> None:
    assert await refusal("a.txt", b"") == "attachment_empty"
    assert await refusal("a.txt", b"x" * 1025, max_megabytes=1 / 1024) == "attachment_too_large"
    assert (await text_of("a.txt", b"x" * 1024, max_megabytes=1 / 1024)).text


async def test_the_text_of_a_pdf_is_read() -> None:
    data = pdf("The first page.", "The second page.")
    attachment = await text_of("a.pdf", data, "application/pdf")
    assert attachment.text == "[Page 1]\nThe first page.\n\n[Page 2]\nThe second page.\n"
    assert attachment.notices == ()
    assert (await text_of("renamed.bin", b"\n" + data)).text == attachment.text


async def test_extra_pages_are_left_out_and_the_model_and_the_user_are_notified() -> None:
    attachment = await text_of("a.pdf", pdf("one", "two", "three"), max_pdf_pages=2)
    assert "two" in attachment.text
    assert "three" not in attachment.text
    assert "first 2 of its 3 pages" in attachment.text
    assert "first 2 of 3 pages" in attachment.notices[0].say("en")


async def test_extra_characters_are_left_out_and_the_model_and_the_user_are_notified() -> None:
    several = await text_of("a.pdf", pdf("x" * 200, "y" * 200, "z" * 200), max_characters=150)
    assert several.text.startswith("[Page 1]\nxx")
    assert "y" not in several.text.split("\n[")[0]
    assert several.notices[0].key == "notice_pages"
    single = await text_of("a.pdf", pdf("x" * 200), max_characters=150)
    assert single.notices[0].key == "notice_cut"
    assert "first 150 of its" in single.text


async def test_an_unreadable_pdf_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    assert await refusal("a.pdf", pdf("secret", password="pass")) == "attachment_pdf_encrypted"
    assert await refusal("a.pdf", pdf("", scanned=True)) == "attachment_pdf_without_text"
    with caplog.at_level(logging.WARNING):
        assert await refusal("a.pdf", b"%PDF-1.7\nnothing of the kind") == "attachment_pdf_broken"
    assert "cannot be read" in caplog.text


async def test_an_encrypted_pdf_with_an_empty_password_is_read() -> None:
    assert "allowed" in (await text_of("a.pdf", pdf("allowed", password=""))).text


@pytest.mark.budget
async def test_a_slow_pdf_is_given_up_without_blocking_the_event_loop() -> None:
    document = FPDF()
    document.set_font("helvetica", size=5)
    for _ in range(100):
        document.add_page()
        for line in range(150):
            document.text(5, line, "some words " * 20)
    data = bytes(document.output())
    longest, done = 0.0, False

    async def watch() -> None:
        nonlocal longest
        while not done:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - began)

    watching = asyncio.create_task(watch())
    assert await refusal("a.pdf", data, pdf_seconds=0.5, max_characters=10**7) == "attachment_pdf_slow"
    done = True
    await watching
    assert longest < 0.5 / 2


def passes_the_server(name: str, mime: str) -> bool:
    """Chainlit's rule, as in `validate_file_mime_type` of chainlit/server.py."""
    for pattern, extensions in accepted_uploads().items():
        if fnmatch.fnmatch(mime, pattern) and (not extensions or name.lower().endswith(tuple(extensions))):
            return True
    return False


@pytest.mark.parametrize(
    ("name", "mime", "passes"),
    [
        ("a.md", "application/octet-stream", True),
        ("a.py", "application/octet-stream", True),
        ("A.CSV", "application/vnd.ms-excel", True),
        ("a.ts", "video/mp2t", True),
        ("a.sql", "application/x-sql", True),
        ("a.svg", "image/svg+xml", True),
        ("a.py", "text/x-python-script", True),
        ("a.pdf", "application/pdf", True),
        ("a.jpeg", "image/jpeg", True),
        ("a.exe", "application/octet-stream", False),
        ("a.xls", "application/vnd.ms-excel", True),
        ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", True),
        ("a.odp", "application/vnd.oasis.opendocument.presentation", True),
        ("a.pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation", False),
        ("a.doc", "application/msword", False),
        ("a.mp4", "video/mp4", False),
        ("a.bmp", "image/bmp", False),
        ("a.zip", "application/zip", False),
    ],
)
def test_chainlit_accepts_exactly_the_readable_types(name: str, mime: str, passes: bool) -> None:
    assert passes_the_server(name, mime) is passes


def test_the_accepted_types_are_valid() -> None:
    for mime, extensions in accepted_uploads().items():
        assert mime.count("/") == 1
        assert mime != "*/*"
        assert all(extension.startswith(".") and extension == extension.lower() for extension in extensions)
    assert len(set(TEXT_EXTENSIONS)) == len(TEXT_EXTENSIONS)
    assert "image/png" not in accepted_uploads(vision=False)
    assert "image/png" not in accepted_uploads(("pdf", "text"))
    assert list(accepted_uploads(["pdf"])) == ["application/pdf"]


async def test_kinds_that_are_not_allowed_are_refused() -> None:
    for name, data, kind in (("a.png", picture("PNG"), "picture"), ("a.pdf", pdf("x"), "pdf"), ("a.txt", b"x", "text")):
        others = [other for other in ALL_KINDS if other != kind]
        assert await refusal(name, data, kinds=others) == f"attachment_no_{kind}"
        assert await read(name, data, kinds=(kind,))


@pytest.mark.parametrize(
    ("sizes", "refused"),
    [
        ([], None),
        ([2 * MEBIBYTE, 2 * MEBIBYTE, MEBIBYTE], None),
        ([1] * 4, "attachment_too_many"),
        ([2 * MEBIBYTE + 1], "attachment_too_large"),
        ([2 * MEBIBYTE, 2 * MEBIBYTE, MEBIBYTE + 1], "attachment_total_too_large"),
    ],
)
def test_the_number_and_size_of_files_in_one_message_are_limited(sizes: list[int], refused: str | None) -> None:
    reader = AttachmentReader(max_files=3, max_megabytes=2, max_total_megabytes=5)
    given = [(f"{number}.txt", size) for number, size in enumerate(sizes)]
    if refused is None:
        reader.admit(given)
        return
    with pytest.raises(AttachmentRefused) as caught:
        reader.admit(given)
    assert caught.value.notice.key == refused
    assert any(digit in caught.value.notice.say("zh") for digit in "235")

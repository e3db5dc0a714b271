"""Tells text from other bytes, and finds its encoding."""

from __future__ import annotations

import codecs
import re

_NOT_IN_TEXT = re.compile("[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")
_HIGH_BYTE = re.compile(rb"[\x80-\xff]")
_CHINESE_PAIR = re.compile(rb"[\xa1-\xf7][\xa1-\xfe]")
_KANA = re.compile("[\u3041-\u30fa]")
_SAMPLE_BYTES = 64 * 1024
_GUESSED_BYTES = 4 * 1024
# Damaged bytes are replaced. Whole UTF-8, with a BOM or without, is tried before under its other name.
_DAMAGED = "UTF-8"
_LATIN = "Windows-1252"
# Of scripts whose letters are all high bytes.
_DENSE = {
    "cp1251": "Windows-1251",
    "koi8_r": "KOI8-R",
    "cp1253": "Windows-1253",
    "cp1255": "Windows-1255",
    "cp1256": "Windows-1256",
    "cp874": "CP874",
}
_EAST = ["gb18030", "big5hkscs", "cp949", "euc_jis_2004"]
_EUROPEAN = (_LATIN, "Windows-1250", "ISO-8859-2")
# A sign within a word: the word is in another encoding. Not those that are written as an apostrophe.
_SIGN_IN_WORD = re.compile("[^\\W\\d_][¡-©«-¯±-³¶¸¹»-¿×÷][^\\W\\d_]")
# Characters of Chinese that most texts have, however short. Other bytes that can be read as GB18030 have few of them.
_FREQUENT = frozenset(
    "的一是了我不人在他有这个上们来到时大地为子中你说生国年着就那和要她出也得里后自以会家可下而过天去能对小多然于心学么之都好看起发"
    "当没成只如事把还用第样道想作种开美总从无情己面最女但现前些所同日手又行意动方期它头经长儿回位分爱老因很给名法间知世什两次使身者被"
    "高已其进此话常与活正感见明问力理点文几定本公特做外相西果走将月十实向全信重三机工物气每并别真打太新比才再书部水像等体却加电主门利"
    "海受听表德少代员先口由安写性光白或住难教色更东处让父应直字场平报关放至认接告入内单件号格价票款议务客户服项目系统数据量市城京路线北南省区县街"
    "金银付费请需要取完读配置程序设置版名姓址码邮话结果合计备注订购商品产业管部门经济法律研究讨论题目标准确复杂类型"
)
_FEW = 40

Guess = tuple[str, bool]
"""An encoding, and whether it is certain."""


def decode(data: bytes) -> tuple[str, str, bool] | None:
    """The text, its encoding, and whether the encoding is certain; None if the bytes are not text."""
    for encoding, certain in _encodings(data):
        try:
            text = data.decode(encoding, "replace" if encoding == _DAMAGED else "strict")
        except UnicodeDecodeError:
            continue
        if _NOT_IN_TEXT.search(text):
            return None
        return text, encoding, certain and _is_common(text, encoding) and _is_frequent(text, encoding)
    return None


def _encodings(data: bytes) -> list[Guess]:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return [("UTF-16", True)]
    sample = data[:_SAMPLE_BYTES]
    for at, encoding in ((1, "UTF-16-LE"), (0, "UTF-16-BE")):
        if sample.count(0) == sample[at::2].count(0) > len(sample) / 6:
            return [(encoding, True)]
    whole = [("UTF-8-SIG", True), *([(_DAMAGED, False)] if _is_damaged(sample) else [])]
    if not _HIGH_BYTE.search(sample):
        return [*whole, (_LATIN, False)]
    return [*whole, *_other(sample), *_european(sample), (_LATIN, False)]


def _other(sample: bytes) -> list[Guess]:
    """The encodings that this can be if it is not UTF-8, the likeliest first."""
    # Nearly every sequence of bytes is some GB18030. Chinese text has its high bytes in pairs, European text singly.
    pairs, high = _CHINESE_PAIR.findall(sample), len(_HIGH_BYTE.findall(sample))
    is_dense = high > 0.3 * len(sample)
    if 2 * len(pairs) <= 0.6 * high:
        return _shift_jis(sample) or (_of_another_script(sample) if is_dense else [])
    leads = [pair[0] for pair in pairs]
    # GB18030 has kana in the same places as EUC-JP, and its commonest characters where EUC-KR has all syllables.
    if sum(lead in (0xA4, 0xA5) for lead in leads) >= 0.2 * len(leads) and _fits(sample, "EUC-JP"):
        return [("EUC-JP", False), ("GB18030", False)]
    characters = [lead for lead in leads if lead >= 0xB0]
    may_be_korean = sum(lead <= 0xC8 for lead in characters) >= 0.95 * len(characters) and _fits(sample, "EUC-KR")
    is_frequent = _is_frequent(sample.decode("GB18030", "ignore"), "GB18030")
    if (
        may_be_korean
        and not is_frequent
        and len(characters) >= 4
        and (len(characters) >= 12 or _guess(sample, _EAST) == "cp949")
    ):
        return [("EUC-KR", False), ("GB18030", False)]
    is_chinese = _fits(sample, "GB18030") and _is_common(sample.decode("GB18030", "ignore"), "GB18030")
    # The commonest characters come first in GB2312. Cyrillic and Greek letters are where the others are.
    if is_chinese and sum(lead <= 0xD7 for lead in characters) >= 0.7 * len(characters):
        return [("GB18030", not may_be_korean)]
    if is_dense and (found := _of_another_script(sample)):
        return found
    # Traditional characters: in Big5 most texts of Taiwan and Hong Kong, in GB18030 few.
    return [("GB18030", True)] if is_chinese else [("Big5-HKSCS", False), ("GB18030", True)]


def _of_another_script(sample: bytes) -> list[Guess]:
    """Big5, or the encoding of a text in Cyrillic, Greek, Hebrew, Arabic or Thai letters; none if it is not found."""
    eastern = _guess(sample, _EAST)
    if eastern is not None:
        return [("Big5-HKSCS", False)] if eastern == "big5hkscs" else []
    found = _guess(sample, [*_DENSE])
    return [(_DENSE[found], False)] if found in _DENSE else []


def _european(sample: bytes) -> list[Guess]:
    """The encodings of Western and Central Europe in which this is text, first those without signs within words."""
    fitting = [encoding for encoding in _EUROPEAN if _fits(sample, encoding)]
    # Others cannot be told apart in a few words, such as Czech and Italian.
    fitting.sort(key=lambda encoding: _SIGN_IN_WORD.search(sample.decode(encoding, "ignore")) is not None)
    return [(encoding, False) for encoding in fitting]


def _fits(sample: bytes, encoding: str) -> bool:
    """Whether these bytes, which may end within a character, are text in this encoding."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return False
    return True


def _guess(sample: bytes, encodings: list[str]) -> str | None:
    # Few texts need it.
    from charset_normalizer import from_bytes  # noqa: PLC0415

    best = from_bytes(sample[:_GUESSED_BYTES], cp_isolation=encodings).best()
    return best.encoding if best is not None else None


def _shift_jis(sample: bytes) -> list[Guess]:
    text = sample.decode("CP932", "ignore")
    is_japanese = len(_KANA.findall(text)) >= 0.2 * sum(one > "\x7f" for one in text) > 0
    return [("Shift_JIS", False), ("CP932", False)] if is_japanese and _fits(sample, "CP932") else []


def _is_damaged(sample: bytes) -> bool:
    """Whether this is UTF-8 but for a few bytes, as in a file that was cut."""
    text = sample.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    whole = sum(one > "\x7f" for one in text) - broken
    return whole > 10 * broken or (broken == 1 and whole >= 3)


def _is_common(text: str, encoding: str) -> bool:
    """Whether Chinese text that was decoded as GB18030 has mostly the characters of every day, those of GB2312."""
    if encoding != "GB18030":
        return True
    high = [one for one in text[:_SAMPLE_BYTES] if one > "\x7f"]
    return sum(one.encode("gb2312", "ignore") != b"" for one in high) >= 0.9 * len(high)


def _is_frequent(text: str, encoding: str) -> bool:
    """Whether a short text that was decoded as GB18030 has frequent characters of Chinese."""
    if encoding != "GB18030":
        return True
    characters = {one for one in text[:_SAMPLE_BYTES] if "\u4e00" <= one <= "\u9fff"}
    return len(characters) > _FEW or len(characters & _FREQUENT) >= 0.4 * len(characters)

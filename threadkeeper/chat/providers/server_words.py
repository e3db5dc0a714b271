"""What servers say when they refuse a request, and what it means.

Status and code often say nothing: a used-up quota is a 429 like a rate limit, most other refusals are a 400, and a
proxy replaces the code of the server behind it. So the words decide, and the status only where they say nothing.
`server_sayings` has the words of each server and their source. The patterns are wider than those, because servers that
are not listed use similar words.
"""

from __future__ import annotations

import re
from typing import Literal

from threadkeeper.chat.model import ErrorKind

Meaning = ErrorKind | Literal["roles"]
"""`roles`: the model takes no system message, or demands that user and assistant alternate. The request can be sent
again in another form; if that fails too, it is refused."""


# The first pattern that matches decides.
_PATTERNS: tuple[tuple[Meaning, str], ...] = (
    (
        "auth",
        r"api.?key (is )?(not (valid|found)|invalid|expired)|invalid (api|access).?(key|token)|incorrect api.?key"
        r"|login fail|无效的(令牌|密钥)",
    ),
    # Bedrock's limit a minute or a day, in the words of a prompt that is too long.
    ("rate_limit", r"too many (\w+ )?tokens( per \w+)?, please wait"),
    (
        "picture_refused",
        r"image exceeds|image.{0,60}(too (large|big|small|many)|exceeds? (the )?(max|limit|\d))|image (size|dimensions)"
        r"|(unsupported|invalid|corrupt(ed)?) image|image format|could not process image|unable to process.{0,20}image"
        r"|failed to (decode|load|download|process|open) (the )?image|cannot identify image"
        r"|(not|n't).{0,20} valid image|image is (not valid|invalid)|too many images|at most [1-9]\d* image"
        r"|image length and width|multimodal file size|图片.{0,20}(过大|超过|大小|格式|解析)",
    ),
    (
        "no_pictures",
        r"(does|do) ?(not|n't) (support|accept).{0,30}(image|vision|picture|multi-?modal)"
        r"|(image|vision|picture|multi-?modal)\w*( input| content)?s?( modality)? ((is|are) )?(not|only) "
        r"(supported|allowed|available|enabled)"
        r"|support image input|unknown variant .?image_url|content part type.{0,40}image|not a? ?multi-?modal|mmproj"
        r"|(missing|without).{0,40}image input|only (supports?|accepts?|takes) text\b"
        r"|text-only (model|server)|at most 0 image|image_url.? is not"
        r"|(only|expected) .?(text|string).{0,40}(image|content type)|content.{0,20}must be a string"
        r"|content.{0,20}(input )?should be a valid string|not a VLM|text-only prompt|lacks? vision"
        r"|不支持(图片|图像|多模态)",
    ),
    (
        "roles",
        r"(does|do) ?(not|n't) (support|accept|allow).{0,12}system\b"
        r"|system.{0,20}(role|message|prompt|instruction)s?.{0,30}(not|un)[ -]?(supported|allowed|enabled|available)"
        r"|role.{0,12}.system.{0,30}(not |un|in)(supported|valid|allowed)"
        r"|(invalid|unsupported|unknown|unexpected) role.{0,8}(system|user|assistant)"
        r"|developer instruction is not enabled|only user(,| and) assistant.{0,10} roles|(must|should) alternate"
        r"|alternate between|successive user or assistant|last message.{0,30}must (be|have).{0,12}user"
        r"|(must|should) (start|begin) with a? ?.?user|first message must"
        r"|system.{0,20}must be (at the beginning|the first)|expected last role"
        r"|multiple .?(user|assistant).? roles in a row|except the system message",
    ),
    (
        "too_long",
        r"context.{0,10}(length|window(?!_fallback)|size|limit)|maximum context|prompt is too long"
        r"|too many.{0,8} tokens"
        r"|contextwindowexceeded|(input|request) is too long|maximum prompt length"
        r"|(longer|larger|greater) than the (model|maximum)"
        r"|(token count|input tokens?|prompt tokens|number of tokens|input length|prompt length|`inputs`).{0,60}"
        r"(exceed|maximum|longer|must|should|larger|greater|too long|only supports)"
        r"|prompt exceeds|exceed(ed|s)?.{0,12} token limit|string too long"
        r"|request (body )?too large|max input characters|(reduce|decrease).{0,20}(message size|length)"
        r"|payload (size|too large)|entity too large|tokens \d+ exceeds|token limit exceeded"
        r"|上下文.{0,8}(长度|超)|(输入|长度|内容).{0,12}(过长|超过|超出)|prompt ?超长",
    ),
    # Gemini uses the words of a used-up quota for its limits a minute too, and then says when to try again.
    ("rate_limit", r"exceeded your current quota.*(retry|try again) (in|after)"),
    (
        "quota",
        r"insufficient.{0,6}(quota|balance|credit|fund)"
        r"|(quota|balance|credits?|funds?) (is|are) (insufficient|exhausted)"
        r"|exceeded_current_quota|key limit exceeded|free tier.{0,30}exhausted|reached your.{0,20} usage limit"
        r"|exceeded your (current|monthly) quota|billing_hard_limit"
        r"|(hit|reached) (your|the).{0,20} (spend(ing)?|budget|credit) limit"
        r"|credit balance|(out of|enough|more|available|remaining) credits|(budget|spending limit|spend limit|"
        r"usage limit)s? (has been |have been |was )?(exceeded|reached)|exceeded.{0,20}(budget|spending limit)"
        r"|exceededbudget|quota is not enough|token_quota_reached|arrear|account is in good standing"
        r"|(余额|额度|配额).{0,4}不足|欠费",
    ),
    (
        "filtered",
        r"content.?filter|content.?management policy|responsibleaipolicy|content.?policy"
        r"|safety.?(system|check|filter)|safety reasons|guardrail|new_sensitive"
        r"|content exists risk|data.?inspection.?failed|inappropriate content|prohibited.?content"
        r"|usage (policy|policies|guidelines)"
        r"|machine outputted is blocked"
        r"|(flagged|blocked|rejected).{0,40}(safety|moderation|filter|policy|inappropriate)"
        r"|moderation.{0,30}(flag|block|fail)|(requires|by) moderation|high risk|(prompt|response|output) (was |is )?"
        r"blocked|(敏感|不安全|违规|不良).{0,8}(内容|信息|词)|内容.{0,8}(敏感|安全|违规)",
    ),
    (
        "not_found",
        r"model.?not.?(found|exist)|model.{0,100}(does not exist|not exist|not found|is not available)"
        r"|invalid model|unknown model|not a valid model|no (healthy )?deployments? |deployment.?not.?found"
        r"|no endpoints found for|no available channel|no models? (is |are )?loaded|has been decommissioned"
        r"|model identifier is invalid|not found the model|unable to access model|real ?modelID|not a chat model"
        r"|only supported in v1/responses|on-demand throughput isn.t supported|model \S+ is not supported\b"
        r"|model is deprecated|deployment for this resource does not exist|模型.{0,20}(不存在|无可用渠道)",
    ),
    (
        "wrong_address",
        r"invalid url|unexpected endpoint|unknown request url|cannot post /|no static resource|no route matched"
        r"|page not found|resource not found|404:? not found|\b404\b.{0,40}nothing matches|method not allowed",
    ),
    (
        "rate_limit",
        r"rate.?limit|too many requests|throttl|overloaded.{0,20}retry|速率限制|请求频率|并发(数)?过高",
    ),
)
_COMPILED = tuple((meaning, re.compile(pattern, re.IGNORECASE | re.DOTALL)) for meaning, pattern in _PATTERNS)
_STATUS_KINDS: dict[int, ErrorKind] = {
    401: "auth",
    402: "quota",
    403: "auth",
    404: "not_found",
    405: "wrong_address",
    408: "timeout",
    409: "server",
    410: "not_found",
    413: "too_long",
    429: "rate_limit",
}
# FastAPI and others know nothing of the path; of a model, a server says more.
_BARE_NOT_FOUND = re.compile(r"\W*(error: *)?not found\W*", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\w.\-])\d{3,9}(?![\w\-])")
_SMALLEST_WINDOW = 512
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
_OF_ANSWER = re.compile(
    r"max_?((completion|output|new)_?)?tokens|maximum (output )?tokens (you requested|value)", re.IGNORECASE
)
_OF_PROMPT = re.compile(r"context (length|limit)|inputs?\W? (length|tokens)|prompt|in the messages", re.IGNORECASE)
_WINDOW = re.compile(r"(?:context length (?:is|of)|must be <=) (\d+)|context limit: \d+ \+ \d+ > (\d+)", re.IGNORECASE)
_PROMPT_TOKENS = re.compile(
    r"(\d+) (?:input tokens|in the messages|tokens from the input|of text input|`inputs` tokens)"
    r"|context limit: (\d+) \+",
    re.IGNORECASE,
)
_EXCLUSIVE = re.compile(r"\bexclusive|(less|lower|smaller) than \W?\d", re.IGNORECASE)
_WAIT = re.compile(
    r"(?:(?:retry|try again|available) (?:in|after):?|please wait(?: for)?|retryDelay\W{1,4})"
    r" *(?:about |approximately |~)? *((?:\d+(?:\.\d+)? ?[a-z]* ?)+)",
    re.IGNORECASE,
)
_CHINESE_WAIT = re.compile(r"(\d+(?:\.\d+)?) *(毫秒|秒|分|小时)[^\d，。]{0,2}[后後]")
_TIME = re.compile(r"(\d+(?:\.\d+)?) ?(ms|milli|[hms]?)", re.IGNORECASE)
_UNITS = {"ms": 0.001, "milli": 0.001, "h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0}
_CHINESE_UNITS = {"毫秒": 0.001, "小时": 3600.0, "分": 60.0, "秒": 1.0}


def meaning_of(status: int, code: str, message: str) -> Meaning:
    """What a refusal with this HTTP status means. `code`: the code or type in its body."""
    if status == 401:
        return "auth"
    words = f"{code} {message}"
    for meaning, pattern in _COMPILED:
        if pattern.search(words):
            return meaning
    if status == 404 and _BARE_NOT_FOUND.fullmatch(message):
        return "wrong_address"
    return _STATUS_KINDS.get(status, "server" if status >= 500 else "refused")


def token_limit(message: str) -> int | None:
    """The window in tokens that a server names when a prompt is too long, as in "218152 … exceeds … 65536"."""
    numbers = [int(number) for number in _NUMBER.findall(message.replace(",", ""))]
    return min((number for number in numbers if number >= _SMALLEST_WINDOW), default=None)


def longest_answer(message: str, wanted: int) -> int | None:
    """The tokens that an answer may have at most, if a server refuses this many and says how many it gives.

    As in "max_tokens is too large: 100000. This model supports at most 16384 completion tokens", or "maximum context
    length is 4096 tokens and your request has 100 input tokens". With a prompt that leaves less than a quarter of the
    window, the prompt is too long and not the answer: None.
    """
    window, prompt = _WINDOW.search(message), _PROMPT_TOKENS.search(message)
    if window and prompt:
        size = int(window[1] or window[2])
        room = size - int(prompt[1] or prompt[2])
        # Not all of the room, so that the next question has some, too.
        most = max(size // 4, min(room, size // 2))
        return most if most <= room and most < wanted else None
    if not _OF_ANSWER.search(message) or _OF_PROMPT.search(message):
        return None
    numbers = [int(number) for number in _NUMBER.findall(_THOUSANDS.sub("", message))]
    named = max((number for number in numbers if number < wanted), default=None)
    return named - 1 if named and _EXCLUSIVE.search(message) else named


def wait_seconds(message: str) -> float | None:
    """The wait that a server names in words, as in "Please retry after 12 seconds" and "try again in 1h12m36s"."""
    if chinese := _CHINESE_WAIT.search(message):
        return float(chinese[1]) * _CHINESE_UNITS[chinese[2]]
    found = _WAIT.search(message)
    if found is None:
        return None
    return sum(float(number) * _UNITS[unit.lower()] for number, unit in _TIME.findall(found[1]))

"""The stored messages of a model call: the newest, without pictures and secrets."""

from threadkeeper.chat.messages import ChatMessage, picture_parts, user_message
from threadkeeper.chat.metering.payloads import MOST_CHARACTERS, kept_messages


def test_the_newest_messages_of_a_long_thread_are_stored() -> None:
    texts = ["a" * (MOST_CHARACTERS // 2), "b" * (MOST_CHARACTERS // 2), "c" * 10, "d" * (MOST_CHARACTERS // 2 - 10)]
    messages: list[ChatMessage] = [{"role": "user", "content": text} for text in texts]
    kept = kept_messages(messages, lambda text: text)
    assert [message["content"] for message in kept] == [
        f"({MOST_CHARACTERS // 2} characters were left out here)",
        *texts[1:],
    ]
    assert kept_messages([], lambda text: text) == []


def test_a_picture_is_stored_as_its_type_and_size() -> None:
    message = user_message("secret words", picture_parts("a.png", f"data:image/webp;base64,{'A' * 4_000}"))
    (kept,) = kept_messages([message, message][:1], lambda text: text.replace("secret", "***"))
    assert kept["content"][1] == {"type": "picture", "media_type": "image/webp", "bytes": 3_000}
    assert kept["content"][2] == {"type": "text", "text": "*** words"}
    (other,) = kept_messages([user_message("x", picture_parts("b.png", "https://example.org/b.png"))], str)
    assert other["content"][1] == {"type": "picture", "media_type": None, "bytes": 0}

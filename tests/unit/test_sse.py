from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadkeeper.chat.providers.sse import COMMENT, ERROR, MESSAGE, OBJECT, STRAY, Event, EventDecoder

PAYLOADS = ['{"text": "Grüße, 你好, 👋🏽"}', "{}", "[DONE]"]
LINE_ENDS = ["\n", "\r\n", "\r"]


def all_events(chunks: list[bytes]) -> list[Event]:
    decoder = EventDecoder()
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return events + decoder.finish()


def decode(chunks: list[bytes]) -> list[str]:
    return [payload.decode() for kind, payload in all_events(chunks) if kind == MESSAGE]


@given(st.lists(st.integers(0, 400)), st.sampled_from(LINE_ENDS), st.sampled_from(["data: ", "data:"]))
def test_events_can_be_split_anywhere(cuts: list[int], line_end: str, field: str) -> None:
    stream = "".join(f": comment{line_end}{field}{payload}{line_end}{line_end}" for payload in PAYLOADS).encode()
    borders = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[start:end] for start, end in pairwise(borders)]
    assert decode(chunks) == PAYLOADS


def test_an_event_can_have_several_data_lines_and_other_fields() -> None:
    assert decode([b'event: x\nid: 7\ndata: {"a":\ndata: 1}\n\n\n\n']) == ['{"a":\n1}']


def test_the_last_event_needs_no_empty_line() -> None:
    assert decode([b"data: 1\n\ndata: 2"]) == ["1", "2"]
    assert decode([b"data: 1\n\ndata: 2\n"]) == ["1", "2"]


def test_an_event_without_data_is_skipped() -> None:
    assert decode([b"event: ping\n\n: comment\n\n"]) == []


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b": ping\n\ndata: 1\n\n", [(COMMENT, b"ping"), (MESSAGE, b"1")]),
        (b":\n\ndata: \n\ndata:\n\n", []),
        (b"event: error\ndata: words\n\ndata: 1\n\n", [(ERROR, b"words"), (MESSAGE, b"1")]),
        (b"event: stream_error\r\n\r\n", [(ERROR, b"")]),
        (b"data: 1\n\nerror: {}\n\ndata: [DONE]\n\n", [(MESSAGE, b"1"), (STRAY, b"error: {}"), (MESSAGE, b"[DONE]")]),
        (b'data: 1\n\n{"detail": "x"}\ndata: 2\n\n', [(MESSAGE, b"1"), (OBJECT, b'{"detail": "x"}'), (MESSAGE, b"2")]),
        (b'{\r\n "error": "x"\r\n}', [(STRAY, b'{\n "error": "x"\n}')]),
        (b"id: 7\nretry: 10\n\n", []),
        # Line ends of several kinds in one stream: of the server, and of a proxy that adds a comment.
        (b"data: 1\r\r: ping\n\ndata: 2\r\n\r\n", [(MESSAGE, b"1"), (COMMENT, b"ping"), (MESSAGE, b"2")]),
        (b"event: error\rdata: words\r\rdata: 1\r\r", [(ERROR, b"words"), (MESSAGE, b"1")]),
        (b'{\r "error": "x"\r}', [(STRAY, b'{\n "error": "x"\n}')]),
        (b"data: 1\n\rdata: 2\r\n\r", [(MESSAGE, b"1"), (MESSAGE, b"2")]),
        (b"\xef\xbb\xbfdata: 1\n\n", [(MESSAGE, b"1")]),
        # No empty lines between the events.
        (
            b'data: {"a": 1}\ndata: {"a": 2}\ndata: [DONE]\n',
            [(MESSAGE, b'{"a": 1}'), (MESSAGE, b'{"a": 2}'), (MESSAGE, b"[DONE]")],
        ),
        (b'event: error\ndata: {"a": 1}\ndata: [DONE]\n\n', [(ERROR, b'{"a": 1}'), (MESSAGE, b"[DONE]")]),
        (b'data: {\ndata: "a": {}\ndata: }\n\n', [(MESSAGE, b'{\n"a": {}\n}')]),
        (b"", []),
    ],
)
def test_comments_errors_and_stray_lines_are_told_apart(stream: bytes, expected: list[Event]) -> None:
    assert all_events([stream]) == expected
    assert all_events([stream[start : start + 1] for start in range(len(stream))]) == expected


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_an_event_is_there_with_its_empty_line(line_end: str) -> None:
    """Not only with the next byte, because a server may think for a minute before that."""
    decoder = EventDecoder()
    assert decoder.feed(f"data: 1{line_end}{line_end}".encode()) == [(MESSAGE, b"1")]
    assert decoder.feed(f"data: 2{line_end}".encode()) == []
    assert decoder.feed(line_end.encode()) == [(MESSAGE, b"2")]


def test_stray_lines_do_not_fill_the_memory() -> None:
    decoder = EventDecoder()
    for _ in range(3_000):
        assert decoder.feed(b"x" * 999 + b"\n") == []
    ((kind, payload),) = decoder.finish()
    assert kind == STRAY
    assert len(payload) < 1_100_000

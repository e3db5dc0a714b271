from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from threadkeeper.chat.providers.sse import EventDecoder

PAYLOADS = ['{"text": "Grüße, 你好, 👋🏽"}', "{}", "[DONE]"]
LINE_ENDS = ["\n", "\r\n"]


def decode(chunks: list[bytes]) -> list[str]:
    decoder = EventDecoder()
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return [event.decode() for event in events + decoder.finish()]


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

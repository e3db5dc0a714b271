"""The signature of webhooks, and which stored steps are the answer to a question."""

import base64
import hashlib
import hmac
from typing import Any

from threadkeeper.conversation.program_turn import answer_of
from threadkeeper.jobs import webhooks

Json = dict[str, Any]


def test_the_signature_is_that_of_the_specification() -> None:
    secret = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
    body = b'{"type": "answer.completed"}'
    signed = b"msg_1.1700000000." + body
    expected = base64.b64encode(hmac.new(b"0123456789abcdef01234567", signed, hashlib.sha256).digest()).decode()
    assert webhooks.signature(secret, "msg_1", 1700000000, body) == f"v1,{expected}"


def test_an_answer_that_was_cut_is_no_answer() -> None:
    run = {"id": "r", "type": "run", "parentId": "q"}

    def said(**fields: Any) -> Json:
        return {"id": "a", "type": "assistant_message", "parentId": "r", "metadata": {"status": "complete"}, **fields}

    for whole in (said(), said(metadata={"status": "stopped"}), said(metadata={"status": "length"})):
        assert answer_of([run, whole], "q") == ("a", [])
    for cut in (
        said(streaming=True),
        said(metadata={"status": "cut"}),
        said(metadata={}),
        said(isError=True, metadata={"status": "error"}),
        said(metadata={"status": "notice"}),
    ):
        assert answer_of([run, cut], "q") == (None, [cut, run])
    assert answer_of([run, said()], "another") == (None, [])

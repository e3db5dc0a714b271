"""The signature of webhooks, and which stored steps are the answer to a question."""

import base64
import hashlib
import hmac
from typing import Any

from threadkeeper.conversation.cutting import steps_of_earlier_questions
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


def test_an_answer_belongs_to_the_question_before_also_if_its_run_began_before_the_next_one_came() -> None:
    def one(step_id: str, of: str | None = None, type_: str = "assistant_message") -> Json:
        return {"id": step_id, "type": type_, "parentId": of}

    first, second = one("q1", type_="user_message"), one("q2", type_="user_message")
    run, thought, answer = one("r", "q1", "run"), one("t", "r", "llm"), one("a", "r")
    later = [one("q3", type_="user_message"), one("r2", "q2", "run")]
    whole = [first, run, thought, answer]
    for before in range(1, 5):
        steps = [*whole[:before], second, *whole[before:], *later]
        assert steps_of_earlier_questions(steps, "q2") == whole, before

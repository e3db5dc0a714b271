"""The line under an answer."""

from threadkeeper.conversation.usage_footer import footer


def test_large_numbers_of_the_footer_have_separators() -> None:
    usage = {"prompt_tokens": 1_000, "completion_tokens": 5_000, "tokens_per_second": 12_408.4}
    step = {"id": "a", "type": "assistant_message", "metadata": {"model": "echo", "usage": usage}}
    line = footer(step, "en-US")
    assert line is not None
    assert line.label == "echo · 6,000 tokens · 12,408 tokens/s"

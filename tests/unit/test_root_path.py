"""The path under which everything is served."""

import pytest

from threadkeeper.settings.root_path import clean_root_path, put_root_path, under_root
from threadkeeper.web.root_path import page_under_root


@pytest.mark.parametrize(
    ("written", "path"),
    [("", ""), ("/", ""), ("chat", "/chat"), ("/chat/", "/chat"), (" /a/b-c_1/ ", "/a/b-c_1"), ("//chat//", "/chat")],
)
def test_a_path_has_one_spelling(written: str, path: str) -> None:
    assert clean_root_path(written) == path


@pytest.mark.parametrize("written", ["/a b", "/chat?x", '/"x', "/../x", "/a//b", "/聊天", "https://host/chat"])
def test_other_paths_are_refused(written: str) -> None:
    with pytest.raises(ValueError, match="must be a path"):
        clean_root_path(written)


@pytest.mark.parametrize(
    ("address", "below"),
    [
        ("/", "/chat/"),
        ("/usage?by=model#top", "/chat/usage?by=model#top"),
        ("/chat", "/chat"),
        ("/chat/me", "/chat/me"),
        ("/chat?x", "/chat?x"),
        ("/chatter", "/chat/chatter"),
        ("//host/x", "//host/x"),
        ("https://host/x", "https://host/x"),
        ("#me", "#me"),
        ("?cursor=1", "?cursor=1"),
    ],
)
def test_an_address_is_put_below_the_path_once(address: str, below: str) -> None:
    assert under_root(address, "/chat") == below
    assert under_root(address, "") == address
    page = f'<a class="x" href="{address}">href=&quot;{address}&quot;</a>'
    assert page_under_root(page, "/chat") == f'<a class="x" href="{below}">href=&quot;{address}&quot;</a>'


def test_the_environment_has_the_path_once() -> None:
    environment = {"CHAINLIT_ROOT_PATH": "chat/", "CHAINLIT_URL": "https://host/chat/"}
    put_root_path("/chat", environment)
    assert environment == {"CHAINLIT_ROOT_PATH": "/chat", "CHAINLIT_URL": "https://host"}
    put_root_path("", environment)
    assert environment == {"CHAINLIT_URL": "https://host"}

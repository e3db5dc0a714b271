"""Tables of commands: for people on a terminal, and for programs."""

import sys

import pytest

from threadkeeper.commands.terminal import show_table


def test_a_table_without_rows_says_so_on_a_terminal_and_has_its_header_for_programs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    show_table(("ID", "Limit"), [], empty="No limits.")
    assert capsys.readouterr().out == "ID\tLimit\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show_table(("ID", "Limit"), iter([]), empty="No limits.")
    assert capsys.readouterr().out == "No limits.\n"
    show_table(("ID", "Limit"), iter([("1", "20")]), empty="No limits.")
    shown = capsys.readouterr().out
    assert "Limit" in shown
    assert "20" in shown

"""What goes where."""

import json

import pytest
from rich.text import Text

from sepme.cli._screen import Screen, mark, table


def test_json_alone_is_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(json=True)
    screen.say("progress")
    screen.show("for people")
    screen.result({"names": ("a", "b"), "text": "é"}, "for people")
    out, err = capsys.readouterr()
    assert json.loads(out) == {"names": ["a", "b"], "text": "é"}
    assert err == "progress\n"


def test_quiet_keeps_warnings_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(quiet=True)
    screen.say("progress")
    screen.note("fact")
    screen.warn("careful")
    screen.error("two\nlines")
    assert capsys.readouterr() == ("", "warning: careful\nerror: two lines\n")


def test_markup_in_foreign_text_is_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.show("[bold]text[/bold]", table(("[a]",), [("[red]x[/red]",)]))
    screen.error("[/nonsense]")
    out, err = capsys.readouterr()
    assert "[bold]text[/bold]" in out
    assert "[red]x[/red]" in out
    assert "[/nonsense]" in err


def test_mark() -> None:
    assert mark(True) == Text("ok", style="green")
    assert str(mark(False, no="BROKEN")) == "BROKEN"

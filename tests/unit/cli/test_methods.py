"""``sepme methods`` reads the source; it must say what the classes say."""

from sepme.cli.methods import FACTS, method_facts
from sepme.methods import METHODS
from tests.unit.cli.conftest import Cli


def test_facts_are_those_of_the_registry(cli: Cli) -> None:
    wanted = [{fact: getattr(METHODS[name], fact) for fact in FACTS} for name in METHODS]
    assert method_facts() == wanted
    assert cli("methods", "--json").data == {"methods": wanted}


def test_the_screen_fits(cli: Cli) -> None:
    shown = cli("methods").out
    assert "https://arxiv.org/abs/2402.05947" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())

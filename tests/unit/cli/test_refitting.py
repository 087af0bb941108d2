"""``sepme erase --refit``: what is in force is fitted again, together with the new."""

from pathlib import Path

import pytest

from sepme.io.ledger_dir import LedgerDir
from sepme.methods.sepme import SepME
from tests.unit.cli.conftest import Cli
from tests.unit.cli.test_erasing import actions, commits

TEXT = ("--method", "sepme-text")


def shifts(folder: Path) -> dict[str, str]:
    return {entry.name: entry.shift for entry in LedgerDir(folder).ledger.entries}


def test_a_list_that_grew_is_the_list_erased_at_once(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    one, grown, bare = (tmp_path / name for name in ("one", "grown", "bare"))
    words = ("--model", tiny, *TEXT, "--retain", "pen", "--json")
    assert cli("erase", "owl", "fig", "jar", *words, "--ledger", one).code == 0
    for folder, more in ((grown, ["--refit"]), (bare, [])):
        cli("erase", "owl", "fig", *words, "--ledger", folder)
        late = cli("erase", "jar", *words, "--ledger", folder, *more)
        assert late.code == 0
    assert shifts(grown) == shifts(one)
    assert commits(grown) == [2, 3]
    assert shifts(bare) != shifts(one)  # inverse check
    assert any((grown / "statistics").iterdir())


def test_shifts_that_list_all_others_are_kept(cli: Cli, ledger: Path) -> None:
    before = shifts(ledger)
    again = cli("erase", "owl", "--ledger", ledger, "--refit", "--json")
    assert actions(again.data) == {"owl": "skipped", "fig": "skipped"}
    grown = cli("erase", "jar", "--ledger", ledger, "--refit", "--json")
    assert actions(grown.data) == {"jar": "fitted", "fig": "fitted", "owl": "fitted"}
    assert "was fitted before" not in grown.err
    for entry in LedgerDir(ledger).ledger.entries:
        assert {"jar", "fig", "owl"} - {entry.name} <= set(entry.decoupled_from)
        assert before.get(entry.name) != entry.shift
    settled = cli("erase", "jar", "--ledger", ledger, "--refit", "--json")
    assert set(actions(settled.data).values()) == {"skipped"}


def test_it_goes_on_where_it_was_interrupted(
    cli: Cli, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = SepME.fit

    def fit(self, model, concept, **options):
        if concept.name == "owl":
            raise KeyboardInterrupt
        return whole(self, model, concept, **options)

    with monkeypatch.context() as patch:
        patch.setattr(SepME, "fit", fit)
        assert cli("erase", "jar", "--ledger", ledger, "--refit").code != 0
    assert LedgerDir(ledger).ledger.erased == ("fig", "jar", "owl")
    again = cli("erase", "jar", "--ledger", ledger, "--refit", "--json")
    assert actions(again.data) == {"jar": "skipped", "fig": "skipped", "owl": "fitted"}


def test_what_was_made_otherwise_is_left_as_it_is(cli: Cli, ledger: Path) -> None:
    before = shifts(ledger)
    late = cli("erase", "jar", "--ledger", ledger, *TEXT, "--refit", "--json")
    assert actions(late.data) == {"jar": "fitted"}
    assert {name: shifts(ledger)[name] for name in before} == before


def test_restored_concepts_are_left_restored(cli: Cli, ledger: Path) -> None:
    cli("restore", "fig", "--ledger", ledger)
    late = cli("erase", "jar", "--ledger", ledger, "--refit", "--json")
    assert actions(late.data) == {"jar": "fitted", "owl": "fitted"}
    assert LedgerDir(ledger).ledger.erased == ("jar", "owl")


def test_one_strength_for_all(cli: Cli, ledger: Path) -> None:
    cli("erase", "owl", "--ledger", ledger, "--strength", "0.5")
    before = shifts(ledger)
    refused = cli("erase", "jar", "--ledger", ledger, "--refit")
    assert "--strength 0.5" in refused.one_error(2)
    assert shifts(ledger) == before
    named = cli("erase", "jar", "owl", "--ledger", ledger, "--refit", "--json")
    assert named.code == 0
    assert {e.strength for e in LedgerDir(ledger).ledger.active} == {1.0}

"""``sepme erase --refit``: what is in force is fitted again, together with the new."""

from pathlib import Path

import pytest

import sepme
from sepme.core.concept import Concept
from sepme.io.ledger_dir import LedgerDir
from sepme.methods.sepme import SepME
from sepme.methods.sepme_text import SepMEText
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


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        (["--seed", "3"], "--seed 3"),
        (["--strength", "0.5"], "--strength 0.5"),
        ([], "--retain pen"),
    ],
)
def test_nothing_is_made_otherwise_unasked(
    cli: Cli, tiny: Path, tmp_path: Path, change: list[str], asked: str
) -> None:
    words = ("--model", tiny, "--ledger", tmp_path / "l")
    cli("erase", "owl", "fig", *words, "--retain", "pen", *change)
    before = shifts(tmp_path / "l")
    kept = [] if asked.startswith("--retain") else ["--retain", "pen"]
    assert asked in cli("erase", "jar", *words, *kept, "--refit").one_error(2)
    assert shifts(tmp_path / "l") == before
    again = cli("erase", "jar", *words, *change, "--retain", "pen", "--refit", "--json")
    assert actions(again.data) == dict.fromkeys(("jar", "owl", "fig"), "fitted")


def test_settings_from_elsewhere_are_not_lost(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    model = sepme.load(tiny)
    model.erase(SepMEText(rank=1).fit(model, Concept("owl", ("owl",))))
    model.save(tmp_path / "l")
    words = ("erase", "jar", "--ledger", tmp_path / "l", *TEXT, "--refit")
    refused = cli(*words).one_error(2)
    assert "'owl' was erased with rank 1, and a refit would take 4" in refused
    assert cli(*words[:2], "owl", *words[2:]).code == 0  # inverse check: asked for by name


def test_a_list_that_is_solved_as_one_is_fitted_as_a_whole(
    cli: Cli, tiny: Path, tmp_path: Path
) -> None:
    one, grown = tmp_path / "one", tmp_path / "grown"
    words = ("--model", tiny, *TEXT)
    cli("erase", "owl", "fig", "jar", *words, "--ledger", one)
    cli("erase", "owl", "fig", "--retain", "jar", *words, "--ledger", grown)  # they list it already
    late = cli("erase", "jar", *words, "--ledger", grown, "--refit", "--json")
    assert actions(late.data) == dict.fromkeys(("jar", "owl", "fig"), "fitted")
    assert shifts(grown) == shifts(one)


def test_a_joint_fit_grows_and_settles(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    words = ("--model", tiny, "--ledger", tmp_path, "--method", "uce", "--refit", "--json")
    cli("erase", "owl", *words)
    grown = cli("erase", "fig", *words)
    assert grown.data["erased"] == ["fig", "owl"]
    assert [entry.name for entry in LedgerDir(tmp_path).ledger.active] == ["fig+owl"]
    before = commits(tmp_path)
    assert cli("erase", "fig", *words).code == 0
    assert commits(tmp_path) == before  # the same shift again is no event


def test_what_is_worded_anew_is_not_listed_yet(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    words = ("--model", tiny, "--ledger", tmp_path / "l", "--refit", "--json")
    cli("erase", "owl", "jar", *words)
    listing = tmp_path / "c.yaml"
    listing.write_text("- {name: jar, prompts: [jar, mug]}\n")
    late = cli("erase", "--concepts", listing, *words)
    assert actions(late.data) == {"jar": "fitted", "owl": "fitted"}
    model = sepme.load(tiny, ledger=tmp_path / "l")
    rows = model.encode(["mug"]).flatten(0, 1).double()
    assert (rows @ model.shift("owl").payload.directions.double().T).abs().max() < 1e-4
    assert (rows @ model.shift("jar").payload.directions.double().T).abs().max() > 1e-2


def test_what_somebody_gives_back_meanwhile_stays_given_back(
    cli: Cli, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = SepME.fit

    def fit(self, model, concept, **options):
        if concept.name == "fig":
            LedgerDir(ledger).restore("owl")
        return whole(self, model, concept, **options)

    monkeypatch.setattr(SepME, "fit", fit)
    words = ("erase", "jar", "--ledger", ledger, "--refit")
    assert "'owl' was given back by someone else" in cli(*words).one_error(1)
    assert LedgerDir(ledger).ledger.erased == ("fig", "jar")
    monkeypatch.undo()
    assert set(actions(cli(*words, "--json").data)) == {"jar", "fig"}


def test_a_note_says_when_it_helps(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    crowd = [f"word{k}" for k in range(20)]
    words = ("--model", tiny, "--ledger", tmp_path, *TEXT)
    assert "fitted before" not in cli("erase", *crowd, *words).err
    assert not LedgerDir(tmp_path).ledger.entry("word0").decoupled_from
    late = " ".join(cli("erase", "late", *words).err.split())
    assert "word0, word1, word10, word11, word12 and 15 more: fitted before late came up" in late
    assert "erase with --refit" in late
    other = " ".join(cli("erase", "owl", "--model", tiny, "--ledger", tmp_path).err.split())
    assert "--refit" not in other  # inverse check: these are not of its method


def test_a_note_names_the_method_that_is_to_be_refitted(cli: Cli, ledger: Path) -> None:
    late = " ".join(cli("erase", "jar", "--ledger", ledger, *TEXT).err.split())
    assert "erase fig again by --method sepme with --refit" in late
    again = cli("erase", "fig", "--ledger", ledger, "--method", "sepme", "--refit", "--json")
    assert actions(again.data) == {"fig": "fitted", "owl": "fitted"}
    for entry in LedgerDir(ledger).ledger.active:
        assert entry.name == "jar" or "jar" in entry.decoupled_from

"""``sepme plan`` and ``sepme erase``: what is fitted, reused, skipped, refused and kept."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest

from sepme.cli import _work
from sepme.core.entry import Entry
from sepme.core.shift import ConceptShift
from sepme.errors import NotSeparable
from sepme.io.ledger_dir import LedgerDir
from sepme.io.shift_store import ShiftStore
from sepme.io.unfinished import resumable
from sepme.methods._training import MomentumStop, Step
from sepme.methods.sepme import SepME
from sepme.pipeline import ErasedPipeline
from tests.unit.cli.conftest import Cli


def actions(data: dict) -> dict[str, str]:
    return {row["name"]: row["action"] for row in data["concepts"]}


def test_plan_prints_and_changes_nothing(cli: Cli, tiny: Path, ledger: Path) -> None:
    before = (ledger / "history.jsonl").read_bytes()
    planned = cli("plan", "jar", "--ledger", ledger, "--json")
    assert planned.code == 0
    assert planned.data["rows"][0]["concept"] == "jar"
    assert "jar" in cli("plan", "jar", "--model", tiny).out
    assert (ledger / "history.jsonl").read_bytes() == before


def test_plan_refuses_with_4_after_printing(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    words = ["owl", "--retain", "OWL!", "--retain", "owl.", "--model", tiny]
    listing = tmp_path / "c.yaml"
    listing.write_text("- {name: same, prompts: owl}\n")
    refused = cli("plan", "owl", "--concepts", listing, *words[1:], "--json")
    assert "owl" in refused.one_error(4)
    assert refused.data["ok"] is False
    erased = cli("erase", "owl", "--concepts", listing, "--model", tiny, "--ledger", tmp_path / "l")
    erased.one_error(4)
    assert not (tmp_path / "l").exists()


def test_erase_commits_each_and_warns_of_a_missing_stop(
    cli: Cli, tiny: Path, tmp_path: Path
) -> None:
    ended = cli("erase", "owl", "fig", "--model", tiny, "--ledger", tmp_path / "l", "--json")
    assert ended.code == 0
    assert actions(ended.data) == {"owl": "fitted", "fig": "fitted"}
    assert ended.err.count("warning: the fit of") == 2
    held = LedgerDir(tmp_path / "l")
    assert held.ledger.erased == ("fig", "owl")
    assert held.model == str(tiny)
    assert {"fig", "blank", "mark", "seal"} <= set(held.ledger.entry("owl").decoupled_from)
    assert {"owl", "blank", "mark", "seal"} <= set(held.ledger.entry("fig").decoupled_from)


def test_concepts_that_are_solved_for_at_once_share_a_shift(
    cli: Cli, tiny: Path, tmp_path: Path
) -> None:
    words = ["erase", "owl", "fig", "--model", tiny, "--ledger", tmp_path / "l", "--json"]
    ended = cli(*words, "--method", "uce")
    assert actions(ended.data) == {"owl": "fitted", "fig": "fitted"}
    assert len({row["shift"] for row in ended.data["concepts"]}) == 1
    assert len(LedgerDir(tmp_path / "l").ledger.entries) == 1
    assert actions(cli(*words, "--method", "uce").data) == {"owl": "skipped", "fig": "skipped"}
    other = cli(*words[:-2], tmp_path / "m", "--json")  # inverse check: one after another
    assert len({row["shift"] for row in other.data["concepts"]}) == 2


def test_dry_run_writes_nothing(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    ended = cli("erase", "owl", "--model", tiny, "--ledger", tmp_path / "l", "--dry-run")
    assert ended.code == 0
    assert "nothing was changed" in ended.out
    assert not (tmp_path / "l").exists()


def test_what_is_erased_already_is_skipped(cli: Cli, ledger: Path) -> None:
    before = (ledger / "history.jsonl").read_bytes()
    again = cli("erase", "owl", "fig", "--ledger", ledger, "--json")
    assert actions(again.data) == {"owl": "skipped", "fig": "skipped"}
    assert "skipped" in again.err
    assert (ledger / "history.jsonl").read_bytes() == before


def test_a_ledger_that_was_killed_while_it_was_created(
    cli: Cli, tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "history.jsonl").write_bytes(b'{"base":"sha2')
    assert cli("erase", "owl", "--model", tiny, "--ledger", tmp_path).code == 0
    assert LedgerDir(tmp_path).ledger.erased == ("owl",)


def test_another_seed_fits_again(cli: Cli, ledger: Path) -> None:
    again = cli("erase", "owl", "--ledger", ledger, "--json", "--seed", "1")
    assert actions(again.data) == {"owl": "fitted"}


def test_a_restored_concept_comes_back_without_training(cli: Cli, ledger: Path) -> None:
    digest = LedgerDir(ledger).ledger.entry("owl").shift
    assert cli("restore", "owl", "--ledger", ledger).code == 0
    again = cli("erase", "owl", "--ledger", ledger, "--json")
    assert actions(again.data) == {"owl": "reused"}
    assert LedgerDir(ledger).ledger.entry("owl").shift == digest


def test_restored_concepts_come_back_in_one_commit(cli: Cli, ledger: Path) -> None:
    cli("restore", "owl", "fig", "--ledger", ledger)
    before = commits(ledger)
    again = cli("erase", "owl", "fig", "--ledger", ledger, "--json")
    assert actions(again.data) == {"owl": "reused", "fig": "reused"}
    assert list(actions(again.data)) == ["owl", "fig"]
    assert commits(ledger) == [*before, 2]


def test_a_new_strength_needs_no_training(cli: Cli, ledger: Path) -> None:
    again = cli("erase", "owl", "--ledger", ledger, "--json", "--strength", "0.5")
    assert actions(again.data) == {"owl": "reused"}
    assert LedgerDir(ledger).ledger.entry("owl").strength == 0.5


def test_a_restored_concept_is_fitted_again_if_more_is_known(cli: Cli, ledger: Path) -> None:
    cli("restore", "owl", "--ledger", ledger)
    newer = cli("erase", "jar", "--ledger", ledger, "--json")
    assert "fig: fitted before jar came up" in newer.err
    assert "erase with --refit" in " ".join(newer.err.split())
    assert "owl" in LedgerDir(ledger).ledger.entry("jar").decoupled_from
    assert actions(cli("erase", "owl", "--ledger", ledger, "--json").data) == {"owl": "fitted"}


def test_an_interrupted_erase_goes_on(
    cli: Cli, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = SepME.fit

    def fit(self, model, concept, **options):
        if concept.name == "fig":
            raise KeyboardInterrupt
        return whole(self, model, concept, **options)

    words = ("erase", "owl", "fig", "--model", tiny, "--ledger", tmp_path / "l", "--json")
    with monkeypatch.context() as patch:
        patch.setattr(SepME, "fit", fit)
        assert "run it again" in cli(*words).one_error(130)
    assert LedgerDir(tmp_path / "l").ledger.erased == ("owl",)
    assert actions(cli(*words).data) == {"owl": "skipped", "fig": "fitted"}


def test_an_interrupted_fit_goes_on(
    cli: Cli, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, update = tmp_path / "whole", MomentumStop.update

    def words(folder: Path) -> tuple[object, ...]:
        return ("erase", "owl", "--model", tiny, "--ledger", folder, "--json")

    def cut(self: MomentumStop, loss: float) -> Step:
        if self.steps == 2:
            raise KeyboardInterrupt
        return update(self, loss)

    assert cli(*words(whole)).code == 0
    monkeypatch.setattr("sepme.io.unfinished.resumable", partial(resumable, seconds=0))
    with monkeypatch.context() as patch:
        patch.setattr(MomentumStop, "update", cut)
        cli(*words(tmp_path / "l")).one_error(130)
    steps = watched(monkeypatch)
    again = cli(*words(tmp_path / "l"))
    assert "going on with a fit that was cut off" in again.err
    assert steps[0] > 1
    assert LedgerDir(tmp_path / "l").shift("owl") == LedgerDir(whole).shift("owl")
    assert not list((tmp_path / "l").glob(".unfinished*"))


WHERE_A_KILL_HITS = [
    pytest.param(LedgerDir, {"owl": "fitted", "fig": "fitted"}, id="before-the-commit"),
    pytest.param(ErasedPipeline, {"owl": "skipped", "fig": "skipped"}, id="after-the-commit"),
]


@pytest.mark.parametrize(("where", "then"), WHERE_A_KILL_HITS)
def test_a_finished_joint_training_is_found_again(
    cli: Cli, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: type, then: dict
) -> None:
    words = ("erase", "owl", "fig", "--method", "sepme-joint", "--model", tiny, "--json")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert cli(*words, "--ledger", whole).code == 0
    with monkeypatch.context() as patch:
        patch.setattr(where, "erase", killed)
        cli(*words, "--ledger", cut).one_error(130)
    steps = watched(monkeypatch)
    again = cli(*words, "--ledger", cut)
    assert actions(again.data) == then
    assert steps == []
    assert commits(cut) == [2]
    assert LedgerDir(cut).shifts() == LedgerDir(whole).shifts()
    assert not list(cut.glob(".unfinished*"))


def killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def watched(patch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of all training steps from here on."""
    update, steps = MomentumStop.update, []

    def counted(self: MomentumStop, loss: float) -> Step:
        steps.append(self.steps + 1)
        return update(self, loss)

    patch.setattr(MomentumStop, "update", counted)
    return steps


@pytest.mark.parametrize(("method", "together"), [("sepme-joint", True), ("sepme", False)])
def test_what_one_fit_gives_is_one_commit(
    cli: Cli, tiny: Path, tmp_path: Path, method: str, together: bool
) -> None:
    words = ("--method", method, "--model", tiny, "--ledger", tmp_path / "l")
    ended = cli("erase", "owl", "fig", *words)
    assert ended.err.count("warning: the fit of") == 2
    assert commits(tmp_path / "l") == ([2] if together else [1, 1])


@pytest.mark.parametrize(("count", "files"), [(40, 1), (3, 3)])
def test_many_text_shifts_share_a_file(
    cli: Cli, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, files: int
) -> None:
    names = [f"{first}{second}x" for first in "abcdefgh" for second in "klmno"][:count]
    words = ("erase", *names, "--method", "sepme-text", "--model", tiny, "--ledger", tmp_path / "l")
    ended = cli(*words, "--json")
    assert actions(ended.data) == dict.fromkeys(names, "fitted")
    assert commits(tmp_path / "l") == [count]
    assert len(list((tmp_path / "l" / "shifts").iterdir())) == files
    shifts = LedgerDir(tmp_path / "l").shifts()
    assert {row["shift"] for row in ended.data["concepts"]} == shifts.keys()
    reads = counted_reads(monkeypatch)
    assert set(actions(cli(*words, "--json").data).values()) == {"skipped"}
    assert len(reads) == 2  # by the model, and by the command


def counted_reads(patch: pytest.MonkeyPatch) -> list[int]:
    """How many shifts each read of a ledger's folder asked for, from here on."""
    load_all, reads = ShiftStore.load_all, []

    def counted(self: ShiftStore, entries: Iterable[Entry]) -> dict[str, ConceptShift]:
        asked = tuple(entries)
        reads.append(len(asked))
        return load_all(self, asked)

    patch.setattr(ShiftStore, "load_all", counted)
    return reads


def commits(folder: Path) -> list[int]:
    """How many concepts each erasure of a ledger put in force."""
    events = [record.event for record in LedgerDir(folder).history()]
    return [len(event["entries"]) for event in events if event["event"] == "erase"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["owl", "--method", "sepm"], "Did you mean 'sepme'?"),
        (["owl", "--strength", "0"], "strength"),
        (["owl", "--strength", "nan"], "strength"),
        (["owl", "--device", "toaster"], "device"),
        ([], "no concept"),
        (["!!!"], "no name can be made"),
        (["owl", "--concepts", "absent.csv"], "absent.csv"),
    ],
)
def test_bad_input_is_refused_early(
    cli: Cli, tiny: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    ended = cli("erase", *words, "--model", tiny, "--ledger", tmp_path / "l")
    assert message in ended.one_error(2)
    assert not (tmp_path / "l").exists()


def test_a_model_that_is_not_there(cli: Cli, tmp_path: Path) -> None:
    ended = cli("erase", "owl", "--model", tmp_path / "no", "--ledger", tmp_path / "l", "--offline")
    assert "cannot load" in ended.one_error(1)
    assert not (tmp_path / "l").exists()


def test_separability_is_checked_before_any_fit(
    cli: Cli, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_, **__):
        raise AssertionError("a fit was started")

    monkeypatch.setattr(_work, "erase_each", refuse)
    monkeypatch.setattr(
        "sepme.plan.Plan.check", lambda self: (_ for _ in ()).throw(NotSeparable("no."))
    )
    cli("erase", "owl", "--model", tiny, "--ledger", tmp_path / "l").one_error(4)

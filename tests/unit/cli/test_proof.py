"""``sepme verify``: tables, JSON, report and exit code."""

from pathlib import Path

from tests.unit.cli.conftest import Cli


def test_without_a_detector(cli: Cli, ledger: Path, tmp_path: Path) -> None:
    cli("restore", "owl", "--ledger", ledger)
    report = tmp_path / "r.html"
    ended = cli("verify", "--ledger", ledger, "--n", 1, "--json", "--report", report)
    assert ended.code == (0 if ended.data["passed"] else 3)
    assert ended.data["erased"] == ["fig"]
    assert ended.data["restored"] == ["owl"]
    assert ended.data["report"] == str(report)
    assert report.read_text(encoding="utf-8").startswith("<!")
    assert "not verified" in ended.data["verdict"] or not ended.data["passed"]


def test_a_failed_check_exits_with_3(cli: Cli, ledger: Path, monkeypatch) -> None:
    monkeypatch.setattr("sepme.verify.Evidence.passed", property(lambda self: False))
    ended = cli("verify", "--ledger", ledger, "--n", 1)
    assert ended.code == 3
    assert "checked" in ended.out
    assert "error:" not in ended.err
    assert all(len(line) <= 80 for line in ended.out.splitlines() if "│" in line)


def test_nothing_was_ever_erased(cli: Cli, tiny: Path, tmp_path: Path) -> None:
    import sepme

    sepme.load(tiny).save(tmp_path / "l")
    assert "nothing to verify" in cli("verify", "--ledger", tmp_path / "l").one_error(2)

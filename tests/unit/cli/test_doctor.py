"""``sepme doctor`` finds what is broken and never breaks itself."""

from importlib.metadata import PackageNotFoundError

import pytest

from sepme.cli import doctor
from sepme.errors import BackendError
from tests.unit.cli.conftest import Cli


def test_a_sound_installation(cli: Cli) -> None:
    ended = cli("doctor", "--json")
    assert ended.code == 0
    assert ended.data["ok"] is True
    found = {check["what"]: check["found"] for check in ended.data["checks"]}
    assert found["demo model"].startswith("sha256:")
    assert {"python", "torch", "diffusers", "threads", "devices", "offline flags"} <= found.keys()


def broken_package(name: str) -> str:
    if name == "rich":
        raise PackageNotFoundError(name)
    return "0.0.1" if name == "tqdm" else "999"


def test_missing_and_old_packages(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "version", broken_package)
    ended = cli("doctor")
    assert ended.code == 1
    assert "Broken: rich, tqdm." in ended.out
    assert "not installed" in ended.out


@pytest.mark.parametrize("error", [BackendError("no weights."), ImportError("no module")])
def test_a_demo_model_that_does_not_load(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def load(*_, **__):
        raise error

    monkeypatch.setattr("sepme.pipeline.load", load)
    ended = cli("doctor")
    assert ended.code == 1
    assert str(error)[:8] in ended.out
    assert "Traceback" not in ended.err


def test_versions_compare_as_numbers() -> None:
    assert doctor._numbers("2.13.0+cpu") >= doctor._numbers("2.13")
    assert doctor._numbers("2.9") < doctor._numbers("2.13")

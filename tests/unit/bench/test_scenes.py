"""Scenes on the demo model, with random shifts in place of fits."""

from pathlib import Path

import pytest

import sepme
from sepme import bench
from sepme.bench import scenes
from sepme.errors import BackendError, SpecError, UnknownMethod

SMALL = {"scenes": (3,), "least": 2, "steps": 1, "method": "sepme"}


@pytest.fixture(scope="module")
def model() -> sepme.ErasedPipeline:
    return sepme.load("demo")


def figures(report: bench.Report) -> dict[tuple[str, str, str], dict]:
    return {
        (row["concepts"], row["split"], row["metric"]): row
        for row in report.rows
        if row["time"] is None
    }


@pytest.mark.slow
def test_one_scene(tmp_path: Path, model, nudging) -> None:
    drawn = bench.run("scenes", model=model, cache=tmp_path, progress=False, **SMALL)
    assert len(nudging) == 6
    assert model.erased == ()
    rows = figures(drawn)
    exact = rows["restored", "literal", "restore_error"]
    assert (exact["value"], exact["leak"]) <= (1, 0.0)
    leaking = rows["restored", "literal", "restore_error_unlisted"]
    assert leaking["value"] > 1  # inverse check: the shift of c0 does not list c1
    assert leaking["leak"] > 0.01
    assert rows["blank", "literal", "restore_error"]["value"] <= 1
    assert rows["watermark", "literal", "restore_error"]["value"] <= 1
    drift = [rows[role, "heldout", "drift_psnr"]["value"] for role in ("forgotten", "regular")]
    assert drift[0] < drift[1]
    for row in drawn.rows:
        assert set(bench.report.COLUMNS) <= row.keys()
        assert row["n"] >= (1 if row["time"] is not None else 2)
        assert row["seeds"] == [0]

    again = bench.run("scenes", model=model, cache=tmp_path, progress=False, **SMALL)
    assert again.rows == drawn.rows
    assert len(nudging) == 6, "a fit was made twice"


@pytest.mark.slow
def test_reprojected_shifts_list_what_came_up_later(tmp_path: Path, model, nudging) -> None:
    bare, spared = (
        figures(
            bench.run(
                "scenes", model=model, cache=tmp_path, progress=False, reproject=chosen, **SMALL
            )
        )
        for chosen in (False, True)
    )
    assert len(nudging) == 6  # the same fits
    error, effect = ("restored", "literal", "restore_error"), "reprojected_effect"
    assert spared[error]["n"] > bare[error]["n"]
    assert spared[error]["value"] <= 1
    assert ("restored", "literal", "restore_error_unlisted") not in spared
    assert 0 < spared["forgotten", "literal", effect]["value"] < 1
    assert effect not in {metric for _, _, metric in bare}  # inverse check


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_figures(
    tmp_path: Path, model, nudging, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bench.run("scenes", model=model, cache=tmp_path / "a", progress=False, **SMALL)
    generate, left = model.backend.generate, [9]

    def failing(*args, **keywords):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return generate(*args, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(model.backend, "generate", failing)
        with pytest.raises(KeyboardInterrupt):
            bench.run("scenes", model=model, cache=tmp_path / "b", progress=False, **SMALL)
    assert all((model.backend.live()[s] == w).all() for s, w in model.sites().items())
    kept = list((tmp_path / "b").rglob("images/*"))
    assert len(kept) == 9
    resumed = bench.run("scenes", model=model, cache=tmp_path / "b", progress=False, **SMALL)
    assert resumed.rows == whole.rows


def test_pools_are_large_enough() -> None:
    spec = scenes.Scenes(least=50)
    for scene in (1, 2, 3, 4):
        there = list(scenes.states(scene))
        for role, count in spec._counts(scene).items():
            shown = {"blank": 1, "watermark": 2}.get(role)
            pooled = sum(shown or len(state.of(role)) for state in there) * count
            assert 50 <= pooled < 50 + pooled / count


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"domain": "colours"}, SpecError, "colours"),
        ({"scenes": (5,)}, SpecError, "(5,)"),
        ({"least": 0}, SpecError, "at least 1"),
        ({"leest": 5}, SpecError, "Did you mean 'least'"),
        ({"method": "sepmee"}, UnknownMethod, "sepme"),
    ],
)
def test_wrong_options(tmp_path: Path, model, options, error, said: str) -> None:
    with pytest.raises(error) as caught:
        bench.run("scenes", model=model, cache=tmp_path, **options)
    assert said in str(caught.value)


def test_an_unknown_benchmark(tmp_path: Path, model) -> None:
    with pytest.raises(SpecError, match="scenes"):
        bench.run("scene", model=model, cache=tmp_path)


def test_no_detector_no_benchmark(tmp_path: Path, tiny_model) -> None:
    with pytest.raises(BackendError, match="no detector"):
        bench.run("scenes", model=tiny_model, cache=tmp_path, **SMALL)

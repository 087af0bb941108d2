import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from sepme.errors import BaseMismatch, LedgerError, MethodError, ShiftFileError
from sepme.io.lora import lora_metadata, lora_state_dict, needs_base, save_lora
from tests.shifts import (
    SITES,
    make_base,
    make_dense_shift,
    make_factor_shift,
    make_shift,
    make_text_shift,
)

FIRST, *REST = SITES
SHIFTS = [
    (make_shift("a", seed=1, rank=3), 1.0),
    (make_shift("b", seed=2, rank=4, sites=tuple(REST)), 0.5),
]


def total(site: str) -> torch.Tensor:
    live = [(shift, strength) for shift, strength in SHIFTS if site in shift.payload.sites]
    return sum(strength * shift.payload.delta(site, make_base()[site]) for shift, strength in live)


@pytest.mark.parametrize("site", SITES)
def test_kohya_product_is_the_delta(site: str) -> None:
    tensors = lora_state_dict(SHIFTS)
    module = f"lora_unet_{site.replace('.', '_')}"
    down, up = (tensors[f"{module}.lora_{part}.weight"].double() for part in ("down", "up"))
    alpha = tensors[f"{module}.alpha"]
    assert (alpha.dtype, alpha.shape) == (torch.float32, ())
    product = up @ down * (alpha / len(down))
    assert torch.allclose(product, total(site), atol=1e-6 * float(total(site).norm()))


def test_strength_changes_the_product() -> None:
    """Inverse check: the comparisons above can fail."""
    one, two = (lora_state_dict([(SHIFTS[0][0], strength)]) for strength in (1.0, 1.001))
    name = next(name for name in one if name.endswith("lora_up.weight"))
    assert not torch.allclose(one[name], two[name], rtol=1e-5)


@pytest.mark.parametrize("site", SITES)
def test_peft_product_is_the_delta(site: str) -> None:
    tensors = lora_state_dict(SHIFTS, names="peft")
    product = tensors[f"unet.{site}.lora_B.weight"] @ tensors[f"unet.{site}.lora_A.weight"]
    assert torch.allclose(product.double(), total(site), atol=1e-6 * float(total(site).norm()))
    assert not any("alpha" in name for name in tensors)


def test_one_rank_everywhere() -> None:
    """The true rank of the largest site, though the sites' own ranks differ."""
    tensors = lora_state_dict(SHIFTS)
    downs = {len(t) for name, t in tensors.items() if name.endswith("lora_down.weight")}
    ups = {t.shape[1] for name, t in tensors.items() if name.endswith("lora_up.weight")}
    alphas = {float(t) for name, t in tensors.items() if name.endswith("alpha")}
    assert downs == ups == alphas == {7}
    assert len(tensors) == 3 * len(SITES)


def test_zero_shift_has_rank_one() -> None:
    shift = make_shift("a")
    zeros = {site: torch.zeros_like(factor) for site, factor in shift.payload.factors.items()}
    shift = replace(shift, payload=replace(shift.payload, factors=zeros))
    tensors = lora_state_dict([(shift, 1.0)])
    assert all(not t.any() for name, t in tensors.items() if "alpha" not in name)
    assert {len(t) for name, t in tensors.items() if "lora_down" in name} == {1}


def test_nothing_to_export() -> None:
    with pytest.raises(LedgerError, match="nothing to export"):
        lora_state_dict([])


@pytest.mark.parametrize("others", [[], SHIFTS])
def test_factors_of_each_site_go_into_a_lora_without_the_base(others: list) -> None:
    shift = make_factor_shift("f")
    shifts = [(shift, 0.5), *others]
    assert not needs_base(shifts)
    tensors = lora_state_dict(shifts, names="peft")
    for site in SITES:
        left, right = (tensors[f"unet.{site}.lora_{part}.weight"].double() for part in "BA")
        live = [(s, size) for s, size in shifts if site in s.payload.sites]
        expected = sum(size * s.payload.delta(site, make_base()[site]) for s, size in live)
        assert torch.allclose(left @ right, expected, atol=1e-6 * float(expected.norm()))
        assert not torch.allclose(left @ right, 2 * expected, rtol=1e-3)  # inverse check


@pytest.mark.parametrize("others", [[], SHIFTS])
def test_payload_without_low_rank_form(others: list) -> None:
    with pytest.raises(MethodError, match=r"'c' has a 'dense' payload.*Export a checkpoint"):
        lora_state_dict([*others, (make_dense_shift("c"), 1.0)])


@pytest.mark.parametrize("others", [[], SHIFTS])
def test_a_text_map_takes_the_form_of_each_site(others: list) -> None:
    shift, base = make_text_shift("t", rank=3), make_base()
    tensors = lora_state_dict([(shift, 0.5), *others], names="peft", base=base)
    for site, weight in base.items():
        expected = (
            0.5 * weight.double() @ shift.payload.left.double() @ shift.payload.right.double()
        )
        expected += sum(
            s * o.payload.delta(site, weight) for o, s in others if site in o.payload.sites
        )
        left, right = (tensors[f"unet.{site}.lora_{part}.weight"].double() for part in "BA")
        assert torch.allclose(left @ right, expected, atol=1e-6 * float(expected.norm()))
        doubled = lora_state_dict(
            [(shift, 0.5), *others], names="peft", base={**base, site: 2 * weight}
        )
        assert not torch.equal(
            doubled[f"unet.{site}.lora_B.weight"].double(), left
        )  # inverse check
    if not others:
        assert {len(t) for name, t in tensors.items() if "lora_A" in name} == {3}


def test_a_text_map_needs_the_base(tmp_path: Path) -> None:
    shifts, base = [(make_text_shift("t"), 1.0)], make_base()
    assert needs_base([*SHIFTS, *shifts])
    assert not needs_base(SHIFTS)
    with pytest.raises(MethodError, match=f"weight of '{FIRST}', which was not given"):
        save_lora(tmp_path / "x", shifts)
    with pytest.raises(MethodError, match=REST[0]):
        lora_state_dict(shifts, base={FIRST: base[FIRST]})
    with pytest.raises(BaseMismatch, match="12-dimensional"):
        lora_state_dict(shifts, base={site: weight[:, 1:] for site, weight in base.items()})
    save_lora(tmp_path / "x", shifts, base=base)
    assert (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("architecture", "version", "v2"),
    [("sd1", "sd_v1", "False"), ("sd2", "sd_v2", "True"), ("sdxl", "sdxl_base_v1-0", "False")],
)
def test_metadata(architecture: str, version: str, v2: str) -> None:
    metadata = lora_metadata(SHIFTS, rank=7, architecture=architecture)
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in metadata.items())
    assert (metadata["ss_base_model_version"], metadata["ss_v2"]) == (version, v2)
    assert metadata["modelspec.architecture"].endswith("/lora")
    assert metadata["ss_network_dim"] == "7"
    assert SHIFTS[1][0].digest in metadata["sepme.shifts"]


@pytest.mark.parametrize("names", ["kohya", "peft"])
def test_file(tmp_path: Path, names: str) -> None:
    path = tmp_path / "x.safetensors"
    save_lora(path, SHIFTS, names=names, title="x", clip_skip=2)
    loaded = safetensors.torch.load_file(path)
    expected = lora_state_dict(SHIFTS, names=names)
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in loaded)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    assert metadata["modelspec.hash_sha256"] == f"0x{hashlib.sha256(content[start:]).hexdigest()}"
    assert metadata["ss_network_dim"] == "7"
    assert metadata["modelspec.encoder_layer"] == "2"


def test_unwritable(tmp_path: Path) -> None:
    with pytest.raises(ShiftFileError, match="cannot write"):
        save_lora(tmp_path / "no" / "x", SHIFTS)

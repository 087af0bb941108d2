"""What tests of per-request policies share: shifts of every kind, and noise under guidance."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from sepme.core.bottleneck_guard import BottleneckGuard
from sepme.core.concept import Concept
from sepme.core.dense_shift import DenseShift
from sepme.core.factor_shift import FactorShift
from sepme.core.gated_guard import GatedGuard
from sepme.core.negative_guard import NegativeGuard
from sepme.core.payload import Payload
from sepme.core.shift import ConceptShift
from sepme.core.text_shift import TextShift
from sepme.pipeline import ErasedPipeline
from tests.tiny import TINY_CONCEPTS, null_space_shift

OWL, FIG = TINY_CONCEPTS[:2]
NAMES = {concept.name: concept for concept in TINY_CONCEPTS}
VALUES = r".*attn2\.to_v"
PROMPTS = ("owl", "fig", "owl fig", "jar")
SETS = ({"a"}, set(), {"a", "b"}, {"b"})

Make = Callable[[ErasedPipeline, torch.Generator], Payload]


def normal(*shape: int, like: torch.Generator, size: float = 1.0) -> torch.Tensor:
    return size * torch.randn(shape, generator=like)


def text_map(model: ErasedPipeline, draw: torch.Generator, pattern: str = r".*attn2\.to_[kv]"):
    sites = model.sites(pattern)
    width = next(iter(sites.values())).shape[1]
    left, right = normal(width, 3, like=draw), normal(3, width, like=draw, size=0.05)
    return TextShift(left, right, tuple(sites))


def factors(model: ErasedPipeline, draw: torch.Generator):
    sites = model.sites(VALUES)
    left = {site: normal(len(w), 2, like=draw, size=0.1) for site, w in sites.items()}
    right = {site: normal(2, w.shape[1], like=draw, size=0.1) for site, w in sites.items()}
    return FactorShift(left, right)


def dense(model: ErasedPipeline, draw: torch.Generator, pattern: str = r".*attn2\.to_[kq]"):
    sites = model.sites(pattern)
    return DenseShift({site: normal(*w.shape, like=draw, size=0.1) for site, w in sites.items()})


def bottleneck(model: ErasedPipeline, draw: torch.Generator):
    """A guard after text sites and after another module, so that it meets what shifts put out."""
    widths = {site: len(weight) for site, weight in model.sites(VALUES).items()}
    widths |= {s: len(w) for s, w in model.sites(r"mid_block.*attn2\.to_out\.0").items()}
    down = {name: normal(2, d, like=draw) for name, d in widths.items()}
    return BottleneckGuard(down, {name: normal(d, 2, like=draw) for name, d in widths.items()})


def negative(model: ErasedPipeline, draw: torch.Generator):
    blank, other = model.encode(["", "sky"]).float()
    return NegativeGuard(blank, other)


def gated(model: ErasedPipeline, draw: torch.Generator):
    """A guard that fires on some of the prompts."""
    width = model.encode([""]).shape[-1]
    direction, left = normal(1, width, like=draw), normal(width, 3, like=draw)
    rows = model.encode(PROMPTS).float()
    scores = (rows @ direction[0]).amax(1).sort().values
    threshold = scores[1:3].mean()[None, None]
    return GatedGuard(direction, left, normal(3, width, like=draw, size=0.05), threshold)


MAKERS: dict[str, Make | None] = {
    "site": None,
    "text": text_map,
    "text of values": lambda model, draw: text_map(model, draw, VALUES),
    "factor": factors,
    "dense": dense,
    "elsewhere": lambda model, draw: dense(model, draw, r".*(ff\.net\.2|time_emb_proj)"),
    "bottleneck": bottleneck,
    "gated": gated,
    "negative": negative,
}


def shift_of(kind: str, model: ErasedPipeline, concept: Concept, seed: int = 0) -> ConceptShift:
    """A random shift of one kind."""
    base, make = null_space_shift(model, concept, seed=seed), MAKERS[kind]
    if make is None:
        return base
    payload = make(model, torch.Generator().manual_seed(seed))
    return replace(base, payload=payload, separable=False, decoupled_from=())


def held(model: ErasedPipeline, *shifts: ConceptShift, strength: float = 0.5) -> None:
    """Erase and restore, so that the ledger knows the shifts."""
    for shift in shifts:
        model.erase(shift, strength=strength, allow_interference=True)
    model.restore(*model.erased)


def noise(
    model: ErasedPipeline, prompts: Sequence[str], *, guided: bool, images: int = 1
) -> torch.Tensor:
    """What the U-Net says of a batch as the pipeline would hand it over."""
    unet = model.pipeline.unet
    size, dtype = unet.config.sample_size, unet.dtype
    rows = model.encode(prompts).repeat_interleave(images, dim=0)
    draw = torch.Generator().manual_seed(7)
    latents = torch.randn(len(rows), 4, size, size, generator=draw).to(dtype)
    if guided:
        rows = torch.cat([model.encode([""]).expand_as(rows), rows])
        latents = torch.cat([latents, latents])
    with torch.no_grad():
        return unet(latents, 500, encoder_hidden_states=rows).sample


def folded(
    model: ErasedPipeline, erased: Sequence[set[str]], prompts: Sequence[str], *, guided: bool
) -> torch.Tensor:
    """The same batch, each row from a model with its prompt's set folded into the weights."""
    before, rows = model.ledger, []
    for i, names in enumerate(erased):
        shifts = [(model.shift(name), before.entry(name).strength) for name in sorted(names)]
        if model.erased:
            model.restore(*model.erased)
        for shift, strength in shifts:
            model.erase(shift, strength=strength, allow_interference=True)
        rows.append(noise(model, prompts, guided=guided)[i :: len(prompts)])
    model._enact(before)
    return torch.stack(rows, dim=1).flatten(0, 1)


def policed(
    model: ErasedPipeline,
    sets: Sequence[set[str]] = SETS,
    prompts: Sequence[str] = PROMPTS,
    *,
    guided: bool,
) -> torch.Tensor:
    """The same batch under a policy."""
    with model.policies(sets, allow_interference=True):
        return noise(model, prompts, guided=guided)


def off(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Largest difference of each row, relative to the largest number of all."""
    return (one - other).abs().flatten(1).amax(1) / other.abs().max()

"""What it costs to give every prompt of a batch its own erased set.

One evaluation of the U-Net on a guided batch of two prompts, each with a set of its own, against
the same evaluation of the plain pipeline, in turns in one process; entering the policy is part of
our time. ``overhead`` is our time over theirs, less 1; ``flops`` is the same share in counted
floating-point operations, which no load of the machine disturbs. The sets have two concepts each.
A concept of one prompt moves at most 76 directions of text space, the rows of a CLIP window without
the start token: that is the default rank.

The last rows are changes of policy: of a set that is known, and of a set never met before, against
erasing and restoring in the weights. The weights of ``sd1`` are random; time does not depend on it.

    python benchmarks/policies.py [--arch demo|sd1] [--pairs N] [--latent N] [--rank N] [--json]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import count
from typing import Any

import torch
from harness import Row, paired, parser, row, show
from step import sd1
from torch.utils.flop_counter import FlopCounterMode

import sepme
from sepme.core.payload import SiteShift
from sepme.core.shift import ConceptShift, Provenance
from sepme.core.text_shift import TextShift

PROMPTS = ["a cat by Van Gogh", "a house by Hokusai"]
SETS = {
    "sites": ({"site-0", "site-1"}, {"site-2", "site-3"}),
    "text maps": ({"text-0", "text-1"}, {"text-2", "text-3"}),
    "sites and text maps": ({"site-0", "text-1"}, {"site-2", "text-3"}),
    "one of two rows": ({"site-0", "site-1"}, set()),
}


def shift(model: sepme.ErasedPipeline, name: str, rank: int) -> ConceptShift:
    """A random shift, a thousandth of the size of the weights."""
    sites, draw = model.sites(), torch.Generator().manual_seed(int(name[-1]))
    width = next(iter(sites.values())).shape[1]

    def normal(*shape: int) -> torch.Tensor:
        return 1e-3 * torch.randn(shape, generator=draw)

    if name.startswith("text"):
        payload: Any = TextShift(normal(width, rank), normal(rank, width), tuple(sites))
    else:
        factors = {site: normal(len(weight), rank) for site, weight in sites.items()}
        payload = SiteShift(normal(rank, width), factors)
    origin = Provenance(model.fingerprint, "sepme", {}, 0, {"sepme": sepme.__version__})
    return ConceptShift((sepme.Concept(name, (name,)),), payload, (), True, origin)


def evaluation(model: sepme.ErasedPipeline, latent: int) -> Callable[[Any], Any]:
    """One evaluation of the U-Net inside a context, the batch as diffusers makes it."""
    unet, draw = model.pipeline.unet, torch.Generator().manual_seed(0)
    rows = torch.cat([model.encode([""] * len(PROMPTS)), model.encode(PROMPTS)])
    latents = torch.randn(len(PROMPTS), unet.config.in_channels, latent, latent, generator=draw)
    both = torch.cat([latents, latents])

    def evaluate(context: Any) -> Any:
        with context, torch.no_grad():
            return unet(both, 500, encoder_hidden_states=rows).sample

    return evaluate


def flops(call: Callable[[], object]) -> int:
    """Floating-point operations of one call."""
    with FlopCounterMode(display=False) as counted:
        call()
    return int(counted.get_total_flops())


def overheads(model: sepme.ErasedPipeline, arch: str, latent: int, pairs: int) -> Iterator[Row]:
    """One row for every kind of shift."""
    evaluate = evaluation(model, latent)
    plain = flops(lambda: evaluate(nullcontext()))
    for kind, sets in SETS.items():

        def ours(sets: tuple[set[str], ...] = sets) -> Any:
            return evaluate(model.policies(sets))

        timed = paired(ours, lambda: evaluate(nullcontext()), pairs=pairs, warm_up=1)
        slower = {
            "overhead": 1 / timed["ratio"] - 1,
            "overhead_lo": 1 / timed["hi"] - 1,
            "overhead_hi": 1 / timed["lo"] - 1,
            "flops": flops(ours) / plain - 1,
        }
        yield row(f"evaluation, {kind}", arch, 4, **timed, **slower)


def changes(model: sepme.ErasedPipeline, arch: str, pairs: int) -> Iterator[Row]:
    """Rows for a change of policy, against the same change in the weights."""
    first, second = SETS["sites"]
    turns = count()

    def enter() -> None:
        with model.policies((first, second) if next(turns) % 2 else (second, first)):
            pass

    def enter_anew() -> None:
        model._policies = type(model._policies)()
        enter()

    def write() -> None:
        if model.erased:
            model.restore(*model.erased)
        model.erase(*(model.shift(n) for n in sorted((first, second)[next(turns) % 2])))

    for work, ours in (("known sets", enter), ("new sets", enter_anew)):
        timed = paired(ours, write, pairs=pairs)
        yield row(f"change of policy, {work}, against a weight write", arch, 4, **timed)


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--arch", choices=("demo", "sd1"), default="demo")
    arguments.add_argument("--pairs", type=int, default=20, help="timed pairs, at least 10")
    arguments.add_argument("--latent", type=int, default=None, help="default 32, demo: its own")
    arguments.add_argument("--rank", type=int, default=None, help="of a shift; default 76, demo: 8")
    chosen = arguments.parse_args()
    demo = chosen.arch == "demo"
    model = sepme.load("demo") if demo else sd1()
    size = chosen.latent or (model.pipeline.unet.config.sample_size if demo else 32)
    rank = chosen.rank or (8 if demo else 76)
    names = sorted({name for sets in SETS.values() for names in sets for name in names})
    model.erase(*(shift(model, name, rank) for name in names))
    model.restore(*names)
    rows = [*overheads(model, chosen.arch, size, chosen.pairs)]
    rows += changes(model, chosen.arch, chosen.pairs)
    show([{**line, "latent": size, "rank": rank} for line in rows], as_json=chosen.json)


if __name__ == "__main__":
    main()

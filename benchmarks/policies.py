"""What it costs to give every prompt of a batch its own erased set.

A run of the U-Net on a guided batch of two prompts, each with a set of its own, against the same
run of the plain pipeline, in turns in one process. A run is ``--steps`` evaluations with one text
embedding, as in a drawing; entering the policy and what is worked out once for an embedding are
part of our time, so the default of one step is the dearest case. Per row, with medians over pairs:

* ``overhead``: our time over theirs, less 1, with a bootstrapped 95 % interval of the median;
* ``flops``: the same share in counted floating-point operations of products and convolutions, which
  no load of the machine disturbs; ``flops_later`` is that of a further step;
* ``difference``: from weights with the sets folded in, relative to the largest number put out.

The sets have two concepts each. A concept of one prompt moves at most 76 directions of text space,
the rows of a CLIP window without the start token: that is the default rank.

The last rows are changes of policy: of a set that is known, and of a set never met before, against
erasing and restoring in the weights. The weights of ``sd1`` are random; time does not depend on it.

    python benchmarks/policies.py [--arch demo|sd1] [--pairs N] [--steps N] [--latent N] [--rank N]
        [--out FILE] [--json]
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import count
from pathlib import Path
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


def run_of(model: sepme.ErasedPipeline, latent: int, steps: int) -> Callable[[Any], Any]:
    """Evaluations of the U-Net inside a context, the batch as diffusers makes it."""
    unet, draw = model.pipeline.unet, torch.Generator().manual_seed(0)
    rows = torch.cat([model.encode([""] * len(PROMPTS)), model.encode(PROMPTS)])
    latents = torch.randn(len(PROMPTS), unet.config.in_channels, latent, latent, generator=draw)
    both = torch.cat([latents, latents])

    def run(context: Any) -> Any:
        with context, torch.no_grad():
            for _ in range(steps):
                found = unet(both, 500, encoder_hidden_states=rows).sample
        return found

    return run


def flops(call: Callable[[], object]) -> int:
    """Floating-point operations of one call."""
    with FlopCounterMode(display=False) as counted:
        call()
    return int(counted.get_total_flops())


def difference(model: sepme.ErasedPipeline, sets: Sequence[set[str]], evaluate: Any) -> float:
    """Largest difference of a policy from folded weights, relative to the largest number."""
    found, off, largest = evaluate(model.policies(sets)), 0.0, 0.0
    for i, names in enumerate(sets):
        model.erase(*(model.shift(name) for name in sorted(names)))
        expected = evaluate(nullcontext())[i :: len(sets)]
        model.restore(*model.erased)
        off = max(off, float((found[i :: len(sets)] - expected).abs().max()))
        largest = max(largest, float(expected.abs().max()))
    return off / largest


def overheads(model: sepme.ErasedPipeline, chosen: Namespace) -> Iterator[Row]:
    """One row for every kind of shift."""
    run, one, two = (run_of(model, chosen.latent, steps) for steps in (chosen.steps, 1, 2))
    plain, first = (flops(lambda call=call: call(nullcontext())) for call in (run, one))
    for kind, sets in SETS.items():

        def ours(call: Any = run, sets: tuple[set[str], ...] = sets) -> Any:
            return call(model.policies(sets))

        timed = paired(ours, lambda: run(nullcontext()), pairs=chosen.pairs, warm_up=1)
        more = {
            "overhead": 1 / timed["ratio"] - 1,
            "overhead_lo": 1 / timed["hi"] - 1,
            "overhead_hi": 1 / timed["lo"] - 1,
            "flops": flops(ours) / plain - 1,
            "flops_later": (flops(partial(ours, two)) - flops(partial(ours, one))) / first - 1,
            "difference": difference(model, sets, one),
        }
        yield row(f"run, {kind}", chosen.arch, 4, **timed, **more)


def changes(model: sepme.ErasedPipeline, chosen: Namespace) -> Iterator[Row]:
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
        timed = paired(ours, write, pairs=chosen.pairs)
        yield row(f"change of policy, {work}, against a weight write", chosen.arch, 4, **timed)


def options() -> Namespace:
    """What to measure, with the defaults of the model."""
    arguments = parser(__doc__)
    arguments.add_argument("--arch", choices=("demo", "sd1"), default="demo")
    arguments.add_argument("--pairs", type=int, default=20, help="timed pairs, at least 10")
    arguments.add_argument("--steps", type=int, default=1, help="evaluations of a run")
    arguments.add_argument("--latent", type=int, help="default 32, demo: its own")
    arguments.add_argument("--rank", type=int, help="of a shift; default 76, demo: 8")
    arguments.add_argument("--out", type=Path, help="also write rows and environment here")
    chosen = arguments.parse_args()
    if chosen.pairs < 10 or chosen.steps < 1:
        arguments.error("an interval needs at least 10 pairs, and a run at least one step")
    chosen.rank = chosen.rank or (8 if chosen.arch == "demo" else 76)
    return chosen


def main() -> None:
    """Measure and print."""
    chosen = options()
    model = sepme.load("demo") if chosen.arch == "demo" else sd1()
    own = model.pipeline.unet.config.sample_size if chosen.arch == "demo" else 32
    chosen.latent = chosen.latent or own
    names = sorted({name for sets in SETS.values() for names in sets for name in names})
    model.erase(*(shift(model, name, chosen.rank) for name in names))
    model.restore(*names)
    rows = [*overheads(model, chosen), *changes(model, chosen)]
    size = {"latent": chosen.latent, "rank": chosen.rank, "steps": chosen.steps}
    show([{**line, **size} for line in rows], as_json=chosen.json, out=chosen.out)


if __name__ == "__main__":
    main()

"""What is kept between runs tells a model under a guard from the same model without."""

from pathlib import Path

import pytest
import torch

from sepme.bench.gallery import Gallery
from sepme.bench.store import Store
from sepme.bench.subsets import probe
from sepme.bench.trials import Trials
from sepme.core.attack import Example, Sampling
from sepme.methods.adavd import AdaVD
from sepme.pipeline import ErasedPipeline
from sepme.verify.cases import Case
from tests.tiny import TINY_CONCEPTS

OWL, FIG = TINY_CONCEPTS[:2]
METHOD = AdaVD(threshold=0.5, slope=20.0)


@pytest.fixture
def shift(judged_tiny: ErasedPipeline):
    return METHOD.fit(judged_tiny, OWL)


def test_images_are_kept_apart(judged_tiny: ErasedPipeline, shift, tmp_path: Path) -> None:
    cases = [Case("owl", 1, "plain", "owl")]
    store = Store(tmp_path)

    def shoot() -> tuple[torch.Tensor, str]:
        gallery = Gallery(judged_tiny, store, steps=2, progress=False)
        (shot,) = gallery.shoot(cases)
        return torch.tensor(shot.pixels), judged_tiny.backend.live_fingerprint()

    before, plain = shoot()
    judged_tiny.erase(shift)
    guarded, key = shoot()
    judged_tiny.erase(shift, strength=2.0)
    stronger, other = shoot()
    judged_tiny.restore("a")
    after, again = shoot()
    assert not torch.equal(before, guarded)
    assert not torch.equal(guarded, stronger)
    assert len({plain, key, other}) == 3
    assert again == plain
    assert torch.equal(before, after)


def test_attackers_meet_the_guard(judged_tiny: ErasedPipeline, shift, tmp_path: Path) -> None:
    examples = (Example("owl", 1),)
    trials = Trials(OWL, lambda images: [False] * len(images), "no", examples, 2, Store(tmp_path))
    original = trials.contender(judged_tiny)
    judged_tiny.erase(shift)
    guarded = trials.contender(judged_tiny)
    judged_tiny.restore("a")
    assert original.weights != guarded.weights
    assert trials.contender(judged_tiny).weights == original.weights
    start, rows = original.subject.start_latents([1]), judged_tiny.encode(["owl"])
    with torch.no_grad():
        seen, said = (
            party.subject.sample(rows, start, Sampling(steps=2)) for party in (original, guarded)
        )
    assert not torch.allclose(seen, said)


def test_probes_meet_the_guard(judged_tiny: ErasedPipeline, shift) -> None:
    seen = probe(judged_tiny, OWL, seed=0)
    assert max(seen.change(judged_tiny, [])) == 0
    assert min(seen.change(judged_tiny, [shift])) > 0

import math

import pytest
import torch

from sepme.methods._discriminator import Discriminator


def domains(n: int, height: int, width: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise, and noise that is smooth from column to column."""
    generator = torch.Generator().manual_seed(seed)
    plain, rough = torch.randn(2, n, 4, height, width, generator=generator)
    return plain, (rough + rough.roll(1, dims=-1)) / 2**0.5


def drawn(like: torch.Tensor, seed: int = 0) -> Discriminator:
    return Discriminator.drawn(like, rate=2e-3, seed=seed)


@pytest.mark.parametrize(
    ("height", "width", "convolutions"),
    [(4, 4, 2), (8, 8, 2), (16, 16, 3), (24, 16, 3), (32, 32, 4), (64, 64, 5), (96, 96, 5)],
)
def test_halves_down_to_a_small_map(height: int, width: int, convolutions: int) -> None:
    latents = torch.zeros(2, 4, height, width)
    critic = drawn(latents)
    assert len(critic.layers) == convolutions
    shapes = [tuple(kernel.shape[:2]) for kernel, _ in critic.layers]
    assert shapes[0] == (64, 4)
    assert shapes[-1] == (1, 64 << (convolutions - 2))
    scores = critic.score(latents)
    halved = (height >> (convolutions - 1), width >> (convolutions - 1))
    assert scores.shape == (2, 1, halved[0] - 1, halved[1] - 1)


@pytest.mark.parametrize("size", [8, 16])
def test_learns_to_tell_two_domains_apart(size: int) -> None:
    anchor, target = domains(32, size, size, seed=0)
    critic = drawn(anchor)
    losses = [critic.learn(anchor, target) for _ in range(40)]
    assert losses[0] == pytest.approx(2 * math.log(2), rel=0.5)
    assert losses[-1] < 0.6 * losses[0]
    unseen = [critic.score(part).mean().item() for part in domains(32, size, size, seed=1)]
    assert unseen[0] < 0 < unseen[1]
    assert critic.betrayal(target) > critic.betrayal(anchor)
    same, chance = drawn(anchor), anchor.flip(0)
    blind = [same.learn(anchor, chance) for _ in range(40)]  # inverse check: one domain only
    assert blind[-1] > 0.9 * 2 * math.log(2)


def test_seeded_without_the_global_random_state() -> None:
    anchor, target = domains(4, 8, 8, seed=0)
    before = torch.get_rng_state()
    one, two, other = drawn(anchor, 3), drawn(anchor, 3), drawn(anchor, 4)
    assert [c.learn(anchor, target) for c in (one, one)] == [
        c.learn(anchor, target) for c in (two, two)
    ]
    assert torch.equal(one.score(anchor), two.score(anchor))
    assert not torch.equal(one.score(anchor), other.score(anchor))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_score_does_not_depend_on_the_rest_of_the_batch() -> None:
    anchor, target = domains(4, 16, 16, seed=0)
    critic = drawn(anchor)
    together = critic.score(torch.cat([anchor, 100 * target]))[:4]
    assert torch.allclose(together, critic.score(anchor), atol=1e-5)
    assert not torch.allclose(critic.score(target), critic.score(anchor), atol=1e-2)

import torch

from sepme.linalg.k_means import k_means


def blobs() -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    places = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    return (places[:, None] + 0.1 * torch.randn(3, 20, 2, generator=draw)).flatten(0, 1)


def test_finds_the_centres_of_separate_blobs() -> None:
    expected = blobs().double().view(3, 20, 2).mean(1)
    for seed in range(5):
        found = k_means(blobs(), 3, seed=seed)
        assert torch.cdist(expected, found).min(1).values.max() < 1e-6
    assert torch.cdist(expected, k_means(blobs(), 2, seed=0)).min(1).values.max() > 1  # inverse


def test_a_seed_decides_and_global_randomness_is_left_alone() -> None:
    noise = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    before = torch.get_rng_state()
    assert torch.equal(k_means(noise, 5, seed=3), k_means(noise, 5, seed=3))
    assert not torch.equal(k_means(noise, 5, seed=3), k_means(noise, 5, seed=4))
    assert torch.equal(torch.get_rng_state(), before)


def test_no_more_centres_than_distinct_rows() -> None:
    assert len(k_means(torch.ones(4, 2), 3, seed=0)) == 1
    assert len(k_means(torch.eye(2).repeat(3, 1), 3, seed=0)) == 2

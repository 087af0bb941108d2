import torch

from sepme.methods._adversary import Search, adversarial


def test_free_rows_descend_and_the_rest_stays() -> None:
    draw = torch.Generator().manual_seed(0)
    embeds, goal = torch.randn(2, 3, 4, generator=draw), torch.randn(2, 3, 4, generator=draw)
    free = torch.tensor([[0.0, 1, 1], [0, 0, 1]])
    search = Search(steps=200, rate=0.1, decay=0.0)
    found = adversarial(embeds, free, goal, lambda rows: rows, search, draw)
    chosen = free.bool()
    assert torch.allclose(found[chosen], goal[chosen], atol=0.05)
    assert torch.equal(found[~chosen], embeds[~chosen])
    assert not torch.allclose(embeds[chosen], goal[chosen], atol=0.05)  # inverse check
    assert not found.requires_grad


def test_decay_pulls_to_zero_whatever_the_gradient() -> None:
    embeds, free = torch.zeros(1, 2, 4), torch.ones(1, 2)
    sizes = [
        adversarial(
            embeds,
            free,
            torch.zeros(1, 2, 4),
            lambda rows: 0 * rows,
            Search(steps=50, rate=0.1, decay=decay),
            torch.Generator().manual_seed(0),
        ).norm()
        for decay in (0.0, 0.1)
    ]
    assert sizes[1] / sizes[0] < 0.65  # 0.99 ** 50 = 0.605

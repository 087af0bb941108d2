import torch

from sepme.methods._adapters import Adapters


def test_it_starts_at_nothing_and_stays_of_its_rank() -> None:
    sites = {"to_k": torch.zeros(6, 5), "to_v": torch.zeros(4, 5)}
    adapters = Adapters.zeros(sites, rank=2, seed=3)
    assert not any(change.any() for change in adapters.deltas().values())
    assert len(adapters.parameters) == 4
    sum((change - 1).square().sum() for change in adapters.deltas().values()).backward()
    assert all(adapters.left[site].grad.any() for site in sites)  # the random factor lets it learn
    with torch.no_grad():
        for factor in adapters.parameters.values():
            factor.add_(torch.randn_like(factor))
    for site, weight in sites.items():
        learned = adapters.payload().changes[site]
        assert learned.shape == weight.shape
        assert torch.linalg.matrix_rank(learned) == 2
    again = Adapters.zeros(sites, rank=2, seed=3).right
    assert torch.equal(again["to_k"], Adapters.zeros(sites, rank=2, seed=3).right["to_k"])
    assert not torch.equal(again["to_k"], Adapters.zeros(sites, rank=2, seed=4).right["to_k"])

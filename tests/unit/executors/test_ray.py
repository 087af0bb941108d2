"""A real Ray cluster of two nodes on this machine, one of which is killed."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sepme.bench.elsewhere import torch_threads
from sepme.errors import BackendError, NotSeparable, SpecError
from sepme.executors import ray as ray_executor
from sepme.executors.ray import Ray
from sepme.methods.sepme import SepME
from tests.tiny import TINY_CONCEPTS
from tests.unit.executors.here import refuses

METHOD = SepME(images=2, pool=4, max_steps=12, scale=0.02, threshold=-1.0)
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
PATIENCE = 60


@dataclass(frozen=True, kw_only=True)
class Struck(Ray):
    """Tells which tasks were sent, and lets something happen once the first is back."""

    strike: Callable[[], None] = lambda: None
    sent: list[int] = field(default_factory=list)

    def map(self, function, tasks, *, common) -> Iterator:
        self.sent.extend(tasks)
        for place, pair in enumerate(super().map(function, tasks, common=common)):
            if place == 0:
                self.strike()
            yield pair


@pytest.fixture
def cluster(require: Callable[[bool, str], None], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head node with the caller on it; what is added to it can be killed."""
    require(find_spec("ray") is not None, "Ray: pip install 'sepme[ray]'")
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))
    made = Cluster(initialize_head=True, head_node_args=NODE)
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


def nodes(alive: bool) -> int:
    import ray

    return sum(node["Alive"] is alive for node in ray.nodes())


def kill(cluster: Any, node: Any) -> None:
    """Kill a node, and wait until the cluster has noticed."""
    dead, end = nodes(alive=False), time.monotonic() + PATIENCE
    cluster.remove_node(node, allow_graceful=False)
    while nodes(alive=False) == dead and time.monotonic() < end:
        time.sleep(0.1)


def test_a_node_that_is_killed_changes_nothing(tmp_path: Path, tiny_model, cluster) -> None:
    concepts = TINY_CONCEPTS[:4]
    victim = cluster.add_node(**NODE)
    assert nodes(alive=True) == 2
    executor = Struck(cache=tmp_path / "a", strike=lambda: kill(cluster, victim))
    ours = METHOD.fit_many(tiny_model, concepts, seed=3, executor=executor)
    assert executor.sent == [0, 1, 2, 3]
    assert nodes(alive=False) == 1
    with torch_threads(1):
        assert ours == METHOD.fit_many(tiny_model, concepts, seed=3)

    other = cluster.add_node(**NODE)  # inverse check: a killed node was at work
    fragile = Struck(cache=tmp_path / "b", retries=0, strike=lambda: kill(cluster, other))
    with pytest.raises(BackendError, match="lost its worker"):
        METHOD.fit_many(tiny_model, concepts, seed=3, executor=fragile)
    again = Struck(cache=tmp_path / "b")
    assert METHOD.fit_many(tiny_model, concepts, seed=3, executor=again) == ours
    assert 0 < len(again.sent) < 4  # a restart repeats nothing finished
    with pytest.raises(NotSeparable, match="no way"):
        list(again.map(refuses, [0], common="no way"))


def test_ray_has_few_tasks_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    def wait(references: list, num_returns: int) -> tuple[list, list]:
        held.append(len(references))
        return references[:num_returns], references[num_returns:]

    def remote(function: Callable) -> Any:
        return SimpleNamespace(remote=lambda *arguments: (function, arguments))

    toy = SimpleNamespace(
        is_initialized=lambda: True,
        put=lambda common: common,
        remote=lambda **options: remote,
        wait=wait,
        get=lambda sent: sent[0](*sent[1]),
    )
    monkeypatch.setitem(sys.modules, "ray", toy)
    monkeypatch.setattr(ray_executor, "_AHEAD", 2)
    assert list(Ray().map(pow, range(5), common=2)) == [(n, 2**n) for n in range(5)]
    assert held == [2, 2, 2, 2, 1]


@pytest.mark.parametrize("error", [ConnectionError, RuntimeError, ValueError])
def test_no_cluster_there(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def init(**options: object) -> None:
        raise error("no answer.\nDetails follow")

    toy = SimpleNamespace(is_initialized=lambda: False, init=init)
    monkeypatch.setitem(sys.modules, "ray", toy)
    with pytest.raises(BackendError, match=r"^cannot connect to Ray at 'x': no answer\. Start"):
        list(Ray(address="x").map(pow, [1], common=7))


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SpecError, match=r"pip install 'sepme\[ray\]'"):
        list(Ray().map(divmod, [1], common=7))


@pytest.mark.parametrize("options", [{"num_gpus": -1}, {"retries": -1}, {"threads": 0}])
def test_values_out_of_range(options: dict[str, int]) -> None:
    with pytest.raises(SpecError, match="at least"):
        Ray(**options)

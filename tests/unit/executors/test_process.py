"""Real worker processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sepme.bench.elsewhere import torch_threads
from sepme.errors import BackendError, NotSeparable, SpecError
from sepme.executors import process
from sepme.executors.process import Process
from sepme.methods.sepme import SepME
from tests.tiny import TINY_CONCEPTS
from tests.unit.executors.here import dies, dies_once, refuses, sees, stumbles

METHOD = SepME(images=2, pool=4, max_steps=12, scale=0.02, threshold=-1.0)


def test_the_same_shifts_as_here(tmp_path: Path, tiny_model) -> None:
    concepts, executor = TINY_CONCEPTS[:3], Process(workers=2, cache=tmp_path)
    ours = METHOD.fit_many(tiny_model, concepts, seed=3, executor=executor)
    with torch_threads(1):
        assert ours == METHOD.fit_many(tiny_model, concepts, seed=3)


def test_a_lost_worker_repeats_nothing_finished(tmp_path: Path) -> None:
    found = dict(Process(workers=1).map(dies_once, range(3), common=tmp_path))
    assert found == {0: 0, 1: 10, 2: 20}
    attempts = [(tmp_path / f"task-{task}").read_text() for task in range(3)]
    assert attempts == ["x", "xx", "x"]


def stumbled(folder: Path, retries: int) -> dict[int, int]:
    """Results of `stumbles`, which loses a worker twice, each time after a task was finished."""
    found = {}
    for task, result in Process(workers=2, retries=retries).map(stumbles, range(4), common=folder):
        (folder / f"told-{task}").touch()
        found[task] = result
    return found


def test_retries_start_anew_after_a_finished_task(tmp_path: Path) -> None:
    assert stumbled(tmp_path, retries=1) == {0: 0, 1: 10, 2: 20, 3: 30}
    attempts = [(tmp_path / f"task-{task}").read_text() for task in range(4)]
    assert attempts == ["x", "xx", "xxx", "xx"]  # the task beside the one that died comes again


def test_without_retries_a_lost_worker_ends_the_call(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"died 1 times .*, 3 of 4 tasks are left"):
        stumbled(tmp_path, retries=0)
    assert (tmp_path / "told-0").exists()


def test_workers_that_always_die() -> None:
    with pytest.raises(BackendError, match=r"died 2 times .*, 2 of 2 tasks are left"):
        list(Process(workers=2, retries=1).map(dies, [7, 8], common=None))


def test_no_tasks() -> None:
    assert list(Process(workers=1).map(dies, [], common=None)) == []


def test_workers_hear_no_ctrl_c() -> None:
    with process._aside():
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_system_that_cannot_block_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "pthread_sigmask")
    monkeypatch.delenv("TQDM_DISABLE", raising=False)  # a quiet command leaves it set
    with process._aside():
        assert os.environ["TQDM_DISABLE"] == "1"
    assert "TQDM_DISABLE" not in os.environ


def test_every_worker_has_its_gpu() -> None:
    seen = dict(dict(Process(workers=2, gpus=(3, 5)).map(sees, range(6), common=None)).values())
    assert set(seen.values()) <= {"3", "5"}
    assert len(set(seen.values())) == len(seen)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ or os.environ["CUDA_VISIBLE_DEVICES"] != "5"


def test_an_error_of_a_task_is_the_callers_at_once() -> None:
    start = time.monotonic()
    with pytest.raises(NotSeparable, match=r"^no way$"):
        list(Process(workers=1).map(refuses, [0, 1, 2], common="no way"))
    assert time.monotonic() - start < 300  # the others would take longer


@pytest.mark.parametrize(
    "strike",
    [
        pytest.param(lambda caller: os.killpg(caller.pid, signal.SIGINT), id="ctrl-c"),
        pytest.param(lambda caller: caller.kill(), id="kill", marks=pytest.mark.slow),
    ],
)
def test_workers_end_with_the_caller(tmp_path: Path, strike: Callable) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        "from sepme.executors.process import Process\n"
        "from tests.unit.executors.here import naps\n"
        "if __name__ == '__main__':\n"
        "    list(Process(workers=1).map(naps, [0, 1], common=Path(sys.argv[1])))\n"
    )
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    caller = subprocess.Popen(
        [sys.executable, script, tmp_path],
        env=os.environ | paths,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # as a shell starts a program: Ctrl-C is for all its processes
    )
    (worker,) = _until(lambda: [int(p.name[4:]) for p in tmp_path.glob("pid-*")], 300)
    strike(caller)
    _, said = caller.communicate(timeout=60)
    assert caller.returncode < 0
    assert "Process-" not in said  # no worker's traceback
    assert _until(lambda: not Path(f"/proc/{worker}/cmdline").exists(), 60)


def _until(ask, seconds: float):
    end = time.monotonic() + seconds
    while not (found := ask()) and time.monotonic() < end:
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("options", [{"workers": 0}, {"retries": -1}, {"threads": 0}])
def test_values_out_of_range(options: dict[str, int]) -> None:
    with pytest.raises(SpecError, match="at least"):
        Process(**options)

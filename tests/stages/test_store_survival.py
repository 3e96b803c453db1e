"""What studies survive by: claims on a shared store, and limits on a stage's memory.

The studies themselves are killed and starved in tests/cli/test_survival.py.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from raysearch.stages.store import Store

KEY, OTHER = "ab" * 32, "cd" * 32
HOLD = """
import sys, time
from raysearch.stages.store import Store
print(Store(sys.argv[1]).claim(sys.argv[2]), flush=True)
time.sleep(60)
"""


def test_a_claim_keeps_other_processes_out_and_dies_with_its_holder(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", HOLD, store.uri, KEY]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root}
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert not store.claim(KEY)
        assert store.claim(OTHER), "a claim is on one key alone"
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    assert store.claim(KEY), "a killed process holds nothing"
    store.release(KEY)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root}
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n", "it was released"
        holder.kill()


def test_a_store_elsewhere_grants_every_claim() -> None:
    store = Store("memory://claims")
    assert store.claim(KEY)
    store.release(KEY)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone can limit a process so")
def test_a_stage_that_needs_too_much_memory_is_told_and_the_limit_goes_again() -> None:
    from trainables.memory import memory_limit

    before = resource.getrlimit(resource.RLIMIT_DATA)
    with memory_limit(0.5):
        np.ones(10**8, dtype=np.uint8)  # 0.1 GB
    for size in (10**9, 4 * 10**9):
        with pytest.raises(MemoryError, match=r"^it needed more than memory=0\.5 GB$"):  # noqa: SIM117
            with memory_limit(0.5):
                np.ones(size, dtype=np.uint8)
    with pytest.raises(RuntimeError, match="another reason"), memory_limit(0.5):
        raise RuntimeError("another reason")
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    np.ones(10**9, dtype=np.uint8)


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (MemoryError(), True),
        (TimeoutError("it took longer than timeout=2 s"), True),
        (ConnectionResetError("by the hub"), True),
        (OSError(28, "No space left on device"), True),
        (RuntimeError("[enforce fail] not enough memory: you tried to allocate 4 GB"), True),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"), True),
        (FileNotFoundError(2, "No such file", "models/w2v2"), False),
        (OSError("w2v2 is not a local folder and is not a valid model identifier"), False),
        (ValueError("loss is nan in epoch 3"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_which_failures_may_pass(error: Exception, transient: bool) -> None:
    from raysearch.stages.limits import is_transient

    assert is_transient(error) is transient


@pytest.mark.slow
def test_torch_that_runs_out_of_memory_is_told_alike() -> None:
    torch = pytest.importorskip("torch")
    from trainables.memory import memory_limit

    with pytest.raises(MemoryError, match=r"more than memory=0\.5 GB"), memory_limit(0.5):
        torch.ones(10**9, dtype=torch.uint8)
    assert torch.ones(10**9, dtype=torch.uint8).numel() == 10**9

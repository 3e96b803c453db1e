"""What the processes that step trials through folds load: each of them costs memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_coordinator_loads_nothing_of_the_drivers_or_the_sciences() -> None:
    code = (
        "import raysearch.search.tune, sys\n"
        "from raysearch.stages.methods import method\n"
        "m = method('rdlr'); m.graph(m.resolve({}))\n"
        "print(' '.join(sorted({n.split('.')[0] for n in sys.modules})))"
    )
    environment = {**os.environ, "RAY_TRAIN_V2_ENABLED": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environment,
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "raysearch" in loaded
    assert not loaded & {"scipy", "sklearn", "optuna", "mlflow", "torch", "opensmile"}

"""From a study to a model on a machine that has nothing else, through real processes."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
SPACE = """\
method: rdlr
corpus: {name: manifest}
features: [egemaps]
normalise: speaker
speaker_clips: [4, 8]
params:
  strategy: hard
  width: 0.0625
  lr: {choice: [0.003, 0.01]}
  batch: 16
  epochs: 8
sampler: grid
trials: 2
"""


def raysearch(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "raysearch", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def home(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study on four speakers, exported: the fifth has never been heard."""
    folder = tmp_path_factory.mktemp("whole")
    corpus = folder / "corpus"
    corpus.mkdir()
    lines = (tones / "manifest.csv").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("s4_")]
    assert len(kept) == 49
    (corpus / "manifest.csv").write_text("\n".join(kept) + "\n")
    for line in kept[1:]:
        shutil.copy(tones / line.partition(",")[0], corpus)
    (folder / "small.yaml").write_text(SPACE)
    done = raysearch(folder, "tune", "space=small.yaml", f"corpus.root={corpus}")
    assert done.returncode == 0, done.stderr
    done = raysearch(folder, "export", "name=tones")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tones@champion: rdlr, trial ")
    return folder


@pytest.fixture(scope="module")
def fresh(
    home: Path, tones: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Path]]:
    """A folder with the model and the clips of the fifth speaker, and nothing else."""
    there = tmp_path_factory.mktemp("machine")
    (found,) = home.glob("runs/mlartifacts/**/MLmodel")
    shutil.copytree(found.parent, there / "model")
    (there / "clips").mkdir()
    clips = [Path(shutil.copy(f, there / "clips")) for f in sorted(tones.glob("s4_*.wav"))]
    assert len(clips) == 12
    return there, clips


def environment(there: Path, path: str = "") -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if n in ("LANG", "TMPDIR")}
    # MLflow's server calls uvicorn by name, as in an activated environment
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "HOME": str(there), "PYTHONPATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}


BARE = """
import sys
# neither the checkout nor an editable install of it
sys.meta_path[:] = [f for f in sys.meta_path if "__editable__" not in repr(f)]
sys.path[:] = [p for p in sys.path if "__editable__" not in p and p != sys.argv[1]]
try:
    import raysearch
except ImportError:
    pass
else:
    sys.exit(f"raysearch is here: {raysearch.__file__}")
"""


def in_bare(there: Path, code: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BARE + code, str(ROOT), *words],
        cwd=there,
        env=environment(there),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_registered_beside_its_study(home: Path) -> None:
    code = """
from mlflow.tracking import MlflowClient
import json
client = MlflowClient(sys.argv[2])
version = client.get_model_version_by_alias("tones", "champion")
run = client.get_run(version.run_id)
(output,) = run.outputs.model_outputs
logged = client.get_logged_model(output.model_id)
assert logged.artifact_location == version.source, (logged, version)
assert logged.source_run_id == version.run_id
linked = json.loads(logged.tags["mlflow.modelVersions"])
print(json.dumps([run.data.tags, linked, version.tags, run.info.status, logged.status]))
"""
    said = in_bare(home, code, f"sqlite:///{home / 'runs' / 'mlflow.db'}")
    tags, linked, own, status, logged = json.loads(said.splitlines()[-1])
    assert tags["raysearch.kind"] == "study"
    assert [(one["name"], str(one["version"])) for one in linked] == [("tones", "1")]
    assert logged == "READY"
    assert own["raysearch.study"] == tags["raysearch.study"]
    assert status == "FINISHED", "the study's run is left as it was"


def test_nothing_in_it_is_pickled(fresh: tuple[Path, list[Path]]) -> None:
    there, _ = fresh
    kinds = {path.suffix for path in (there / "model").rglob("*") if path.is_file()}
    assert kinds <= {".py", ".yaml", ".json", ".safetensors", ".txt", ".ipynb", ".j2", ""}


@pytest.fixture(scope="module")
def answers(fresh: tuple[Path, list[Path]]) -> list[dict[str, Any]]:
    """What `mlflow.pyfunc.load_model` alone makes of the clips, on that machine."""
    there, clips = fresh
    code = """
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model("model")
import raysearch
assert "/machine" in raysearch.__file__, raysearch.__file__
assert not {"ray", "optuna", "omegaconf"} & set(sys.modules)
print(model.predict(pd.DataFrame({"path": sys.argv[2:]})).to_json(orient="records"))
"""
    found: list[dict[str, Any]] = json.loads(
        in_bare(there, code, *map(str, clips)).splitlines()[-1]
    )
    return found


def test_an_unheard_speaker_is_judged_by_the_model_alone(
    fresh: tuple[Path, list[Path]], answers: list[dict[str, Any]], home: Path
) -> None:
    there, _ = fresh
    classes = [name for name in answers[0] if name != "label"]
    want = np.array([[row[name] for name in classes] for row in answers])
    np.testing.assert_allclose(want.sum(axis=1), 1, atol=1e-5)
    # the command, run from the code that lies in the model
    done = subprocess.run(
        [sys.executable, "-m", "raysearch", "predict", "model=model", "clips", "format=json"],
        cwd=there,
        env=environment(there, str(there / "model" / "code")),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "each folder is taken for one speaker: clips (12 clips)" in done.stderr
    said = json.loads(done.stdout)["clips"]
    made = np.array([[row["probabilities"][name] for name in classes] for row in said])
    np.testing.assert_allclose(made, want, atol=1e-6)
    # and by its name, where the registry is
    done = raysearch(home, "predict", "model=tones", str(there / "clips"), "format=json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)["clips"]
    made = np.array([[row["probabilities"][name] for name in classes] for row in said])
    np.testing.assert_allclose(made, want, atol=1e-6)
    # tones of three pitches: far above the third that guessing gets
    truth = [("angry", "neutral", "sad")[i % 3] for i in range(12)]
    assert np.mean([row["label"] == y for row, y in zip(said, truth, strict=True)]) > 0.5


@pytest.fixture(scope="module")
def server(fresh: tuple[Path, list[Path]]) -> Iterator[str]:
    there, _ = fresh
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [
        *(sys.executable, "-m", "mlflow", "models", "serve", "-m", "model"),
        *("--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)),
    ]
    with open(there / "serve.log", "wb") as log:
        process = subprocess.Popen(
            command, cwd=there, env=environment(there), stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            until = time.monotonic() + 180
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5):
                        break
                except OSError:
                    assert process.poll() is None, (there / "serve.log").read_text()
                    assert time.monotonic() < until, (there / "serve.log").read_text()
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def post(url: str, body: Any) -> tuple[int, Any]:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_it_answers_over_http(
    server: str, fresh: tuple[Path, list[Path]], answers: list[dict[str, Any]]
) -> None:
    there, clips = fresh
    rows = [{"audio": base64.b64encode(f.read_bytes()).decode(), "speaker": "s4"} for f in clips]
    status, said = post(server, {"dataframe_records": rows})
    assert status == 200, said
    for made, want in zip(said["predictions"], answers, strict=True):
        assert made["label"] == want["label"]
        for name in set(want) - {"label"}:
            assert made[name] == pytest.approx(want[name], abs=1e-5)
    status, said = post(server, {"dataframe_records": rows[:1]})
    assert status >= 400
    assert "needs 4 of them or more" in said
    example = json.loads((there / "model" / "serving_input_example.json").read_text())
    status, said = post(server, example)
    assert status == 200, said
    assert len(said["predictions"]) == 4

"""How fast the ledger gets to MLflow and to Optuna's storage: runs and trials a second.

    python tests/benchmarks/mirrors.py --trials 60

MLflow on SQLite without a server; through `mlflow server` on SQLite; through the server as
`mlflow/compose.yaml` runs it, with logins on PostgreSQL. Optuna's storage on SQLite and on
PostgreSQL. Trials of 10 folds that are in the ledger already, so that the time is the writer's
alone; one driver, the server on the same cores, PostgreSQL on a socket and without fsync.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import common

from raysearch.study.space import Space
from raysearch.tracking.client import connect
from raysearch.tracking.optuna_mirror import OptunaMirror
from raysearch.tracking.projection import Ending
from raysearch.tracking.writer import Writer

sys.path.insert(0, str(common.ROOT / "tests" / "tracking"))
from servers import ADMIN, Server, SharedServer, postgres, postgres_missing
from synthetic import SyntheticStudy

FOLDS = 10


def study_of(folder: Path, name: str, trials: int) -> SyntheticStudy:
    study = SyntheticStudy(folder, name, folds=FOLDS)
    study.whole(*range(trials))
    return study


def write(writer: Writer) -> None:
    """All that there is, by one session that ends."""
    writer.start()
    writer.end(Ending("KILLED", "the end of the benchmark"))
    assert writer.close(1800) == []


def mlflow_seconds(folder: Path, uri: str | None, trials: int) -> float:
    """From the start of writing to the last run, the client's import and set-up not counted."""
    seconds = 0.0
    for name, count in (("warm", 1), ("timed", trials)):  # the first one makes the tables
        study = study_of(folder, name, count)
        start = time.perf_counter()
        write(study.writer(study.mlflow(uri)))
        seconds = time.perf_counter() - start
    return seconds


def optuna_seconds(folder: Path, uri: str, trials: int) -> float:
    domains = Space.parse({"gamma": {"float": [0.2, 0.8], "step": 0.1}})[0].domains
    seconds = 0.0
    for name, count in (("warm", 1), ("timed", trials)):
        study = study_of(folder, f"optuna-{name}", count)
        mirror = OptunaMirror(uri, name, study.record.instance, domains)
        start = time.perf_counter()
        write(study.writer(mirror))
        seconds = time.perf_counter() - start
    return seconds


@contextmanager
def running(server: Server) -> Iterator[str]:
    server.start()
    try:
        yield server.uri
    finally:
        server.kill()


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--trials", type=int, default=60)
    args = parser.parse_args()
    trials = args.trials
    os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = ADMIN
    figures = common.Figures("mirrors")
    with ExitStack() as stack:
        folder = stack.enter_context(common.workplace(args.keep))
        for name in ("plain", "sqlite", "shared", "optuna", "again"):
            (folder / name).mkdir()
        connect(f"sqlite:///{folder / 'import.db'}", folder)  # MLflow's import counts for nobody
        seconds = mlflow_seconds(folder / "plain", None, trials)
        figures.add("MLflow on SQLite, no server", trials / seconds, "runs/s")
        with running(Server(folder / "sqlite")) as uri:
            seconds = mlflow_seconds(folder / "sqlite", uri, trials)
        figures.add("MLflow through a server on SQLite", trials / seconds, "runs/s")
        seconds = optuna_seconds(folder / "optuna", f"sqlite:///{folder / 'optuna.db'}", trials)
        figures.add("Optuna's storage on SQLite", trials / seconds, "trials/s")
        if postgres_missing():
            print(f"PostgreSQL left out: {postgres_missing()}")
        else:
            sockets = stack.enter_context(postgres())
            with running(SharedServer(folder / "shared", sockets, workers=2)) as uri:
                seconds = mlflow_seconds(folder / "shared", uri, trials)
            name = "MLflow through a server with logins on PostgreSQL"
            figures.add(name, trials / seconds, "runs/s")
            database = f"postgresql+psycopg://mlflow@/optuna?host={sockets}"
            seconds = optuna_seconds(folder / "again", database, trials)
            figures.add("Optuna's storage on PostgreSQL", trials / seconds, "trials/s")
    figures.close(args.json)


if __name__ == "__main__":
    main()

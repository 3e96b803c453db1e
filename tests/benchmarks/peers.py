"""raysearch beside two usual ways of searching, on the same settings, folds, network and stages.

    python tests/benchmarks/peers.py
    python tests/benchmarks/peers.py --trials 12 --folds 10 --emodb DIR
    python tests/benchmarks/peers.py --peers optuna --trials 20 --epochs 100 --width 1

The search is a sweep of RDLR over gamma; every training (teacher, then student) is that of
`trainables/rdlr.py` with one thread, and all three get the same arrays in the same parts.

    ray      Ray Tune, a trial a setting, in it a TorchTrainer with ScalingConfig(num_workers=1)
             a fold, as Ray's documentation shows it; as many trials at once as there are cores
    optuna   Optuna with joblib: each trial's folds in parallel on all cores, processes kept warm
    apart    raysearch where no two settings can share a stage (see sharing.py)
    raced    raysearch with racing=mixed, which stops settings that will not win

Neither peer shares stages between settings or stops a trial early; that is what raysearch adds.
Seconds are of the whole search, Ray's start and end included; the peer's data are loaded before
its clock starts, raysearch's after.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import common
import numpy as np

# -- what all peers train ------------------------------------------------------------------------


def plain_loop() -> None:
    """Let a stage call the training loop itself; the peers bring their own Ray Train, or none."""
    from trainables import loop, optimisation

    loop.fit = optimisation.train_epochs


def fold_score(dataset: Any, context: Any, setting: dict[str, Any], fold: int) -> float:
    """Train one fold of one setting, all its stages, and score its validation part."""
    from raysearch.stages import Runtime, calls, execute
    from raysearch.stages.methods import method
    from trainables.metrics import unweighted_accuracy

    plain_loop()
    rdlr = method("rdlr")
    made: dict[str, Any] = {}
    for call in calls(rdlr, rdlr.resolve(setting), fold, context):
        made[call.key] = execute(call, dataset, [made[key] for key in call.needs], Runtime())
    probabilities = made[call.key].arrays["validation"]
    truth = dataset.y[dataset.folds[fold].validation]
    return float(unweighted_accuracy(truth, probabilities.argmax(axis=1), len(dataset.classes)))


# -- Ray Tune with a TorchTrainer a fold ---------------------------------------------------------


def ray_peer(dataset: Any, context: Any, settings: list[dict[str, Any]], folds: int) -> list[float]:
    """The mean validation UA of each setting."""
    import logging
    import tempfile

    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray import train, tune
    from ray.train.torch import TorchTrainer

    where = tempfile.mkdtemp(prefix="raysearch-peer-", dir="/tmp")
    ray.init(
        address="local",
        num_cpus=common.CORES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=where,
    )
    try:
        shared = ray.put((dataset, context))

        def train_fold(config: dict[str, Any]) -> float:
            data, about = ray.get(config["shared"][0])
            return fold_score(data, about, config["setting"], config["fold"])

        def trial(config: dict[str, Any]) -> None:
            scores = []
            for fold in range(folds):
                result = TorchTrainer(
                    train_fold,
                    train_loop_config={
                        "setting": config["setting"],
                        "fold": fold,
                        "shared": config["shared"],
                    },
                    scaling_config=train.ScalingConfig(
                        num_workers=1, resources_per_worker={"CPU": 1}
                    ),
                    run_config=train.RunConfig(storage_path=where, name=f"{os.getpid()}-{fold}"),
                ).fit()
                scores.append(result.return_value)
            tune.report({"ua": float(np.mean(scores))})

        results = tune.Tuner(
            # a trial only waits for its workers, which have a core each
            tune.with_resources(trial, {"cpu": 0, "memory": 50 * 2**20}),
            param_space={"setting": tune.grid_search(settings), "shared": [shared]},
            tune_config=tune.TuneConfig(
                metric="ua", mode="max", max_concurrent_trials=common.CORES, reuse_actors=True
            ),
            run_config=tune.RunConfig(storage_path=where, name="peer", verbose=0),
        ).fit()
        if results.errors:
            raise SystemExit(f"the peer failed: {results.errors[0]}")
        found = {json.dumps(r.config["setting"], sort_keys=True): r.metrics["ua"] for r in results}
        return [found[json.dumps(setting, sort_keys=True)] for setting in settings]
    finally:
        ray.shutdown()


# -- Optuna with joblib --------------------------------------------------------------------------


def optuna_peer(
    dataset: Any, context: Any, settings: list[dict[str, Any]], folds: int
) -> list[float]:
    """The mean validation UA of each setting."""
    import joblib
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    for setting in settings:
        study.enqueue_trial({"gamma": setting["gamma"]})
    fixed = {name: value for name, value in settings[0].items() if name != "gamma"}

    with joblib.Parallel(n_jobs=common.CORES) as parallel:

        def objective(trial: Any) -> float:
            setting = {**fixed, "gamma": trial.suggest_float("gamma", 0.0, 1.0)}
            run = joblib.delayed(fold_score)
            scores = parallel(run(dataset, context, setting, fold) for fold in range(folds))
            return float(np.mean(scores))

        study.optimize(objective, n_trials=len(settings))
    return [float(trial.value or 0.0) for trial in study.trials]


PEERS = {"ray": ray_peer, "optuna": optuna_peer}


def run_peer(name: str, folder: Path, words: list[str], settings: list[dict[str, Any]]) -> None:
    """One peer in this process; prints its seconds and its scores."""
    inputs = common.features(words, folder)
    from raysearch.data.features import local_chunks

    dataset, context = inputs.dataset(run_chunks=local_chunks), inputs.context()
    began = time.monotonic()
    scores = PEERS[name](dataset, context, settings, len(dataset.folds))
    print(json.dumps({"seconds": time.monotonic() - began, "scores": scores}))


# -- the command ---------------------------------------------------------------------------------


def main() -> None:
    parser = common.parser(__doc__)
    common.corpus_options(parser)
    parser.set_defaults(width=0.25, epochs=10)
    parser.add_argument("--trials", type=int, default=4, help="values of gamma")
    parser.add_argument(
        "--folds", type=int, help="part the speech in so many (default: 1 a speaker)"
    )
    parser.add_argument("--peers", nargs="+", choices=tuple(PEERS), default=list(PEERS))
    parser.add_argument("--only", choices=tuple(PEERS), help="(used by the benchmark itself)")
    parser.add_argument("--folder", type=Path, help="(used by the benchmark itself)")
    args = parser.parse_args()
    divide = [] if args.folds is None else ["protocol=kfold", f"protocol.folds={args.folds}"]
    sweep = functools.partial(
        common.gamma_sweep, trials=args.trials, width=args.width, epochs=args.epochs
    )
    if args.only:
        words = [*common.corpus_words(args.folder, args.emodb), *divide, "space=sweep.yaml"]
        home = f"home={args.folder / args.only}"
        run_peer(args.only, args.folder, [*words, home], sweep(args.folder))
        return

    figures = common.Figures("peers")
    with common.workplace(args.keep) as folder:
        words = [*common.corpus_words(folder, args.emodb), *divide]
        sweep(folder)
        sweep(folder, share=False)
        own: dict[str, common.Run] = {}
        for name, more in (
            ("sweep", ["space=sweep.yaml"]),
            ("apart", ["space=apart.yaml"]),
            ("raced", ["space=sweep.yaml", "racing=mixed"]),
        ):
            common.features([*words, *more, f"home={folder / name}"], folder)
            own[name] = common.tune(folder, name, *words, *more)
        folds = own["sweep"].facts()[0]
        figures.add("settings x folds", folds)
        figures.add("raysearch", own["sweep"].seconds, "s")
        figures.add("raysearch without sharing", own["apart"].seconds, "s")
        figures.add("raysearch, racing=mixed", own["raced"].seconds, "s")
        figures.add("raysearch, racing=mixed: fold-runs", own["raced"].facts()[0])
        for name in args.peers:
            given = [str(value) for value in sys.argv[1:] if value != "--json"]
            done = subprocess.run(
                [sys.executable, __file__, *given, "--only", name, "--folder", str(folder)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[:2])},
                stdout=subprocess.PIPE,
                stderr=(folder / f"{name}.err").open("wb"),
                text=True,
                check=False,
            )
            if done.returncode:
                said = (folder / f"{name}.err").read_text()[-3000:]
                raise SystemExit(f"the peer {name} ended with {done.returncode}:\n{said}")
            seconds = json.loads(done.stdout.splitlines()[-1])["seconds"]
            label = {"ray": "Ray Tune, a TorchTrainer a fold", "optuna": "Optuna with joblib"}[name]
            goal = {"least": 20.0} if name == "ray" else {}
            figures.add(label, seconds, "s")
            figures.add(f"{label}: a fold", seconds / folds, "s")
            figures.add(f"{label} / raysearch", seconds / own["sweep"].seconds, "times", **goal)
            figures.add(f"{label} / without sharing", seconds / own["apart"].seconds, "times")
            figures.add(f"{label} / racing=mixed", seconds / own["raced"].seconds, "times", **goal)
    figures.close(args.json)


if __name__ == "__main__":
    main()

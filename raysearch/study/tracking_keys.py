"""The keys of a study's mirrors: MLflow, and Optuna's storage."""

from __future__ import annotations

from raysearch.data.section import ConfigSection, key


class TrackingConfig(ConfigSection):
    """MLflow."""

    uri: str | None = key(
        None,
        "where MLflow's runs go: a tracking URI, or server for the one in "
        "MLFLOW_TRACKING_URI; none: a database under the home; tracking=false: nowhere",
        "a URI without a password, server, or null",
        "https://mlflow.example.org",
        min_length=1,
    )
    optuna: str | None = key(
        None,
        "a database in which optuna-dashboard shows the search, or server for the one in "
        "RAYSEARCH_OPTUNA_STORAGE",
        "a database URI without a password, server, or null",
        "postgresql://raysearch@db.example.org/optuna",
        min_length=1,
    )
    fold_runs: int = key(
        3,
        "how many of the best trials get a run in MLflow for each fold",
        "a whole number of at least 0",
        "3",
        ge=0,
    )
    enabled: bool = key(True, "whether MLflow gets anything", "true or false", "false")

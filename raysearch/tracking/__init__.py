"""Where people look: a study as MLflow runs, and as a study of Optuna's for its dashboard.

One road leads there: the driver's ledger, a mirror of it (`raysearch.tuning.mirror`), the `writer`
(a thread that keeps every sink up to the ledger), and a sink: the `client` of MLflow, which writes
what a `projection` says, or the `optuna_mirror`. `server` asks before a study starts, `ui` serves
MLflow's pages, `views` and `notes` say what these show.
"""

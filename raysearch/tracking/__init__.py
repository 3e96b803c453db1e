"""Where people look: a study as MLflow runs, and as a study of Optuna's for its dashboard.

`projection` says what a run holds, `runs` writes it into MLflow, `writer` is the thread that keeps
every mirror up to the ledger, `server` asks before a study starts, `ui` serves the pages.
"""

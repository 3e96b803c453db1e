"""The science: targets, losses, metrics, networks and the methods' stages.

Nothing here knows Ray Tune, Optuna or MLflow. `stage`, `metrics` and the method modules
themselves import no torch at their top, so that the processes which only plan, count and
score stay light; a stage imports torch when it runs.
"""

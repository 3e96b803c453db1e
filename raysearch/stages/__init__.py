"""The stage graph of a fold: what it asks for, under which keys, and how one stage is run.

A stage receives only what its key hashes. Threads, workers and the device are provenance, not
identity. `executor` runs the stages of a fold, in this process or on the `broker`; `keys` makes the
keys, `sources` the part of them that is code; `running` hands a stage its inputs, `normalising`
makes these of a `dataset`.
"""

from raysearch.stages.dataset import Answers, Dataset, Moments
from raysearch.stages.executor import Demand, FoldOutcome, LocalExecutor, StageFailed
from raysearch.stages.keys import (
    AS_STUDIED,
    Call,
    Context,
    Use,
    calls,
    context,
    facts_of,
    setting_identity,
    with_uses,
)
from raysearch.stages.normalising import normalised, statistics
from raysearch.stages.running import Runtime, execute, inputs_of
from raysearch.stages.sources import source_digest

__all__ = [
    "AS_STUDIED",
    "Answers",
    "Call",
    "Context",
    "Dataset",
    "Demand",
    "FoldOutcome",
    "LocalExecutor",
    "Moments",
    "Runtime",
    "StageFailed",
    "Use",
    "calls",
    "context",
    "execute",
    "facts_of",
    "inputs_of",
    "normalised",
    "setting_identity",
    "source_digest",
    "statistics",
    "with_uses",
]

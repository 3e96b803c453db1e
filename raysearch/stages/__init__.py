"""The stage graph of a fold: what it asks for, under which keys, and how one stage is run.

A stage receives only what its key hashes. Threads, workers and the device are provenance, not
identity. `keys` makes the keys, `sources` the part of them that is code, `running` hands a stage
its inputs, `normalising` makes these of `data`.
"""

from raysearch.stages.dataset import Answers, Dataset, Moments
from raysearch.stages.keys import Call, Context, Use, calls, context
from raysearch.stages.normalising import normalised, statistics
from raysearch.stages.running import Runtime, execute, inputs_of
from raysearch.stages.sources import source_digest

__all__ = [
    "Answers",
    "Call",
    "Context",
    "Dataset",
    "Moments",
    "Runtime",
    "Use",
    "calls",
    "context",
    "execute",
    "inputs_of",
    "normalised",
    "source_digest",
    "statistics",
]

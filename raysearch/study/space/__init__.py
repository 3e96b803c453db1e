"""What a study searches: domains of parameters, and the conditions under which they exist.

The grammar, one line a parameter, in the YAML under `params:`

    strategy: lr                                        # a constant
    strategy: {choice: [hard, ls, lr]}                  # unordered values
    batch: {grid: [32, 64, 128]}                        # ordered numbers: neighbours are alike
    gamma: {float: [0.2, 0.8], step: 0.1}               # both ends belong to it
    lambda_rd: {float: [1.0e-3, 0.1], log: true}
    layers: {int: [1, 4]}                               # step: and log: as well
    smoothing: {grid: [0.05, 0.1], when: {strategy: [ls, lr]}}    # exists for these strategies only
    lambda_pel: {const: 1.0e-4, needs: unlabelled}      # exists only where the data has it
    target: {choice: [hard, soft], needs: {soft: votes}}   # the value, where the data has it

A setting assigns a value to every searched parameter that exists; constants come beside it.
`enqueue:` lists settings to try first; what an entry leaves out takes the method's default, and
the reserved key `_name` gives it a name, as a row of a table has one:

    enqueue:
      - {strategy: lr, gamma: 0.5}
      - {_name: CE, strategy: hard}

Nothing here knows a sampler.
"""

from __future__ import annotations

from raysearch.study.space.domains import Choice, Const, Domain, Float, Grid, Int
from raysearch.study.space.space import Space, unknown_parameter
from raysearch.study.space.values import NAME, NEEDS, Scalar, canonical, same

__all__ = [
    "NAME",
    "NEEDS",
    "Choice",
    "Const",
    "Domain",
    "Float",
    "Grid",
    "Int",
    "Scalar",
    "Space",
    "canonical",
    "same",
    "unknown_parameter",
]

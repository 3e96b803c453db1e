"""Which searched parameters move the score: Optuna's fANOVA on a study rebuilt from its trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from raysearch.search.sampler import distribution, inner_value, silent
from raysearch.study.space import Domain, Space
from raysearch.study.space.domains import Listed
from raysearch.study.space.values import member

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

When = Mapping[str, Sequence[Any]]
"""parameter -> the values that it has in all settings of a part of the space"""

LEAST = 10
"""settings below which nothing can be said of several parameters"""
MOST = 250
"""settings that are looked at; of more, so many drawn at random, as a forest's cost grows"""
ROUNDS = 8
"""resamples of the settings, whose spread is shown"""
TREES, DEPTH = 16, 8
"""of each forest; all rounds together are a forest of 128 trees"""


@dataclass(frozen=True)
class Importance:
    """A parameter's share of the scores' variance that single parameters explain."""

    name: str
    share: float
    """in [0, 1]; all parameters' sum to 1. Mean over resamples of the settings"""
    low: float
    high: float
    """least and greatest over the resamples"""


def branches(space: Space) -> list[When]:
    """The parts of a space in which parameters exist that not every setting has."""
    parts: list[When] = []
    for name in space.searched():
        when = space.domains[name].when
        if when and space.domains[name].size != 1 and when not in parts:
            parts.append(when)
    return parts


def importances(
    space: Space,
    settings: Sequence[Mapping[str, object]],
    scores: Sequence[float],
    seed: int,
    when: When | None = None,
) -> tuple[Importance, ...]:
    """The main effects of the parameters that every setting has, largest first.

    A random forest is fitted to (setting, score), and the variance of its prediction over the
    searched domains is divided among the parameters (Hutter, Hoos and Leyton-Brown 2014). Settings
    are drawn anew, with replacement, for each of ROUNDS forests: what one lucky setting does to the
    figures is seen in their spread.

    Args:
        space: what was searched; settings that do not fit it are left out.
        settings: searched parameters by name.
        scores: one a setting, finite.
        seed: of the forests and the resampling.
        when: of `branches`: only the settings and the parameters of that part; None: the whole.

    Returns:
        Nothing where fewer than LEAST settings fit, fewer than two parameters exist in all of them,
        or all scores are equal.
    """
    from optuna.trial import create_trial

    fitting = [
        i
        for i, one in enumerate(settings)
        if space.contains(one) is None
        and all(name in one and member(one[name], values) for name, values in (when or {}).items())
    ]
    rng = np.random.default_rng(seed)
    if len(fitting) > MOST:
        fitting = sorted(int(i) for i in rng.choice(fitting, MOST, replace=False))
    domains = {
        name: domain
        for name, domain in _domains(space, when or {})
        if all(name in settings[i] for i in fitting)
    }
    names = list(domains)
    if len(fitting) < LEAST or len(names) < 2 or np.ptp([scores[i] for i in fitting]) == 0:
        return ()
    ways = {name: distribution(domain) for name, domain in domains.items()}
    trials = [
        create_trial(
            params={n: inner_value(domain, settings[i][n]) for n, domain in domains.items()},
            distributions=ways,
            value=float(scores[i]),
        )
        for i in fitting
    ]
    return _main_effects(trials, names, rng)


def _main_effects(
    trials: Sequence[FrozenTrial], names: list[str], rng: np.random.Generator
) -> tuple[Importance, ...]:
    """The share of the variance that each parameter explains, over ROUNDS resampled forests."""
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    by_name: dict[str, list[float]] = {name: [] for name in names}
    for number in range(ROUNDS):
        with silent():
            study = optuna.create_study(direction="maximize")
            sample = rng.integers(len(trials), size=len(trials))
            study.add_trials([trials[i] for i in sample])
            forest = FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=number)
            shares = get_param_importances(study, evaluator=forest, params=names)
        for name in names:
            by_name[name].append(float(shares[name]))
    effects = [Importance(n, float(np.mean(x)), min(x), max(x)) for n, x in by_name.items()]
    return tuple(sorted(effects, key=lambda one: (-one.share, one.name)))


def _domains(space: Space, when: When) -> Iterator[tuple[str, Domain]]:
    """What is searched in a part of the space, and among which values."""
    for name in space.searched():
        domain = space.domains[name]
        if name in when and isinstance(domain, Listed):
            domain = replace(domain, items=tuple(x for x in domain.items if member(x, when[name])))
        elif not all(
            parent in when and all(member(x, allowed) for x in when[parent])
            for parent, allowed in domain.when.items()
        ):
            continue  # not every setting of this part has it
        if domain.size != 1:
            yield name, domain

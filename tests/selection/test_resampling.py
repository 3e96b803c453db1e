"""The cluster bootstrap over test speakers, beside scipy's and a sample by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from raysearch.selection import over_speakers
from raysearch.selection.measures import ua_of, wa_of


def counts(speakers: int, seed: int = 0) -> np.ndarray:
    """[S, 2, 2]: ten clips of each class a speaker, of whom some are understood better."""
    rng = np.random.default_rng(seed)
    right = rng.binomial(10, rng.uniform(0.4, 1.0, size=(speakers, 1)), size=(speakers, 2))
    rows = np.zeros((speakers, 2, 2))
    rows[:, [0, 1], [0, 1]] = right
    rows[:, [0, 1], [1, 0]] = 10 - right
    return rows


def test_it_is_the_percentile_bootstrap_of_the_speakers() -> None:
    """All speakers have as many clips, so pooled WA is the mean of theirs: scipy's bootstrap."""
    table = counts(30)
    each = np.trace(table, axis1=1, axis2=2) / 20
    want = stats.bootstrap(
        (each,), np.mean, n_resamples=20000, method="percentile", rng=np.random.default_rng(1)
    )
    bounds = over_speakers([table], wa_of)
    assert bounds is not None
    low, high, sd = bounds
    assert low == pytest.approx(want.confidence_interval.low, abs=0.006)
    assert high == pytest.approx(want.confidence_interval.high, abs=0.006)
    assert sd == pytest.approx(want.standard_error, abs=0.003)


def test_parts_are_drawn_apart_and_their_scores_averaged() -> None:
    tables = [counts(12, 1), counts(20, 2)]
    bounds = over_speakers(tables, ua_of)
    mean = np.mean([ua_of(table.sum(axis=0)) for table in tables])
    assert bounds is not None
    assert bounds[0] < mean < bounds[1]
    alone = [over_speakers([table], ua_of) for table in tables]
    together = np.sqrt(sum(one[2] ** 2 for one in alone if one is not None)) / 2
    assert bounds[2] == pytest.approx(together, rel=0.1)


def test_one_speaker_has_no_interval() -> None:
    assert over_speakers([counts(1)], ua_of) is None
    assert over_speakers([counts(5), counts(1)], ua_of) is None
    assert over_speakers([], ua_of) is None

"""The cluster bootstrap over test speakers, beside scipy's and a sample by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from raysearch.selection import compare_over_speakers, over_speakers
from raysearch.selection.measures import ua_of, wa_of


def counts(speakers: int, seed: int = 0) -> dict[str, np.ndarray]:
    """By speaker [2, 2]: ten clips of each class a speaker, of whom some are understood better."""
    rng = np.random.default_rng(seed)
    right = rng.binomial(10, rng.uniform(0.4, 1.0, size=(speakers, 1)), size=(speakers, 2))
    rows = np.zeros((speakers, 2, 2))
    rows[:, [0, 1], [0, 1]] = right
    rows[:, [0, 1], [1, 0]] = 10 - right
    return dict(zip(map(str, range(speakers)), rows, strict=True))


def test_it_is_the_percentile_bootstrap_of_the_speakers() -> None:
    """All speakers have as many clips, so pooled WA is the mean of theirs: scipy's bootstrap, at
    the level whose normal quantile is t's, times the root of n/(n-1)."""
    table = counts(30)
    each = np.array([np.trace(one) / 20 for one in table.values()])
    tail = stats.norm.cdf((30 / 29) ** 0.5 * stats.t.ppf(0.025, 29))
    want = stats.bootstrap(
        (each,),
        np.mean,
        confidence_level=1 - 2 * tail,
        n_resamples=20000,
        method="percentile",
        rng=np.random.default_rng(1),
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
    mean = np.mean([ua_of(sum(table.values())) for table in tables])
    assert bounds is not None
    assert bounds[0] < mean < bounds[1]
    alone = [over_speakers([table], ua_of) for table in tables]
    together = np.sqrt(sum(one[2] ** 2 for one in alone if one is not None)) / 2
    assert bounds[2] == pytest.approx(together, rel=0.1)


def test_parts_of_the_same_speakers_are_drawn_together() -> None:
    """Two trainings tested on the same clips: their mean is as uncertain as one of them."""
    table = counts(12)
    assert over_speakers([table, table], ua_of) == over_speakers([table], ua_of)


def test_three_speakers_have_no_interval() -> None:
    for parts in ([counts(3)], [counts(5), counts(3)], []):
        assert over_speakers(parts, ua_of) is None
    assert compare_over_speakers([paired(counts(3), counts(3, 1))], ua_of, 0.0) is None


def paired(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {who: np.stack([a[who], b[who]]) for who in a}


def test_a_difference_is_the_paired_t_test_where_speakers_have_as_many_clips() -> None:
    """Pooled WA is the mean of the speakers' then, and the bootstrap's error the t test's."""
    a, b = counts(12, 1), counts(12, 2)
    each = [np.array([np.trace(x) / 20 for x in one.values()]) for one in (a, b)]
    want = stats.ttest_rel(*each)
    d = compare_over_speakers([paired(a, b)], wa_of, float(each[0].mean() - each[1].mean()))
    assert d is not None
    assert d.low is not None
    assert d.high is not None
    low, high = want.confidence_interval()
    assert (d.low, d.high, d.p) == pytest.approx((low, high, want.pvalue), rel=0.1)
    assert (d.mean, d.n, d.speakers) == (pytest.approx(each[0].mean() - each[1].mean()), 12, True)


def test_a_difference_that_is_not_there_is_found_in_one_study_of_twenty() -> None:
    rng = np.random.default_rng(0)
    studies, seen = 400, 0
    for _ in range(studies):
        ability = rng.normal(0.6, 0.1, size=8)  # of the speakers; each setting adds its own luck
        right = rng.binomial(20, np.clip(ability + rng.normal(0, 0.08, size=(2, 2, 8)), 0, 1))
        tables = np.zeros((8, 2, 2, 2))  # speaker, setting, class, answer
        for c in range(2):
            tables[:, :, c, c] = right[:, c].T
            tables[:, :, c, 1 - c] = 20 - right[:, c].T
        pooled = ua_of(tables.sum(axis=0))
        part = dict(zip("abcdefgh", tables, strict=True))
        d = compare_over_speakers([part], ua_of, float(pooled[0] - pooled[1]))
        assert d is not None
        assert d.p is not None
        seen += d.p < 0.05
    # 20 expected; 99.9 % of binomial counts are here
    assert 8 <= seen <= 35


def test_settings_that_answer_alike_do_not_differ() -> None:
    a = counts(5)
    d = compare_over_speakers([paired(a, a)], ua_of, 0.0)
    assert d is not None
    assert (d.mean, d.low, d.high, d.p) == (0.0, 0.0, 0.0, 1.0)
    same = {who: np.full((2, 2), 5.0) for who in a}
    always = {who: np.array([[6.0, 4.0], [4.0, 6.0]]) for who in a}
    d = compare_over_speakers([paired(always, same)], wa_of, 0.1)
    assert d is not None
    assert (d.low, d.high, d.p, d.n) == (None, None, None, 5)

"""Corpora: tables of utterances, each with its audio, speaker, label and, perhaps, votes.

One file a corpus. A third party's corpus is a `CorpusInfo` in the entry-point group
`raysearch.corpora`.
"""

from raysearch.data.corpora.agreement import VotePartition, plurality, vote_partition
from raysearch.data.corpora.corpus import (
    RATING_COLUMNS,
    Corpus,
    CorpusInfo,
    Options,
    Problem,
    Raw,
)
from raysearch.data.corpora.corpus_sources import known, naming_problems
from raysearch.data.corpora.loading import check, load
from raysearch.data.corpora.names import COMMON, common_name
from raysearch.data.corpora.problems import CorpusCheck, sentences
from raysearch.data.corpora.raters import Ratings, by_rater, candidates, distances
from raysearch.data.corpora.tasks import LEVELS

__all__ = [
    "COMMON",
    "LEVELS",
    "RATING_COLUMNS",
    "Corpus",
    "CorpusCheck",
    "CorpusInfo",
    "Options",
    "Problem",
    "Ratings",
    "Raw",
    "VotePartition",
    "by_rater",
    "candidates",
    "check",
    "common_name",
    "distances",
    "known",
    "load",
    "naming_problems",
    "plurality",
    "sentences",
    "vote_partition",
]

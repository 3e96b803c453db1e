"""Corpora: tables of utterances, each with its audio, speaker, label and, perhaps, votes.

One file a corpus. A third party's corpus is a `CorpusInfo` in the entry-point group
`raysearch.corpora`.
"""

from raysearch.data.corpora.corpus import (
    RATING_COLUMNS,
    Corpus,
    CorpusInfo,
    Problem,
    Raw,
    Report,
    sentences,
)
from raysearch.data.corpora.loading import check, known, load
from raysearch.data.corpora.names import COMMON, common_name
from raysearch.data.corpora.raters import Ratings, by_rater, candidates
from raysearch.data.corpora.tasks import LEVELS, Task
from raysearch.data.corpora.votes import VotePartition, Votes, plurality, vote_partition

__all__ = [
    "COMMON",
    "LEVELS",
    "RATING_COLUMNS",
    "Corpus",
    "CorpusInfo",
    "Problem",
    "Ratings",
    "Raw",
    "Report",
    "Task",
    "VotePartition",
    "Votes",
    "by_rater",
    "candidates",
    "check",
    "common_name",
    "known",
    "load",
    "plurality",
    "sentences",
    "vote_partition",
]

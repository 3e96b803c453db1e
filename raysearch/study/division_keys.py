"""The keys of how utterances are divided: who is tested, and who validates."""

from __future__ import annotations

from typing import Literal, get_args

from raysearch.data.section import ConfigSection, Names, Tree, key, thaw
from raysearch.stages.divisions import COLUMNS
from raysearch.stages.folds import Protocol

_PARTS = "the values of the column of protocol=split that are parts {}; none: those called {}"


class ProtocolConfig(ConfigSection):
    """How utterances are divided into train, validation and test."""

    name: Protocol = key(
        "loso",
        "what a fold holds out: a speaker (loso), a session (loseso), a corpus (loco), a part of "
        "all clips with the same share of each class (kfold), or what a column of the corpus names "
        "as a test part (split) or as a fold (column); pairs trains on each corpus and tests on "
        "each other",
        f"one of {', '.join(get_args(Protocol))}",
        "loso",
    )
    folds: int = key(10, "the number of folds of kfold", "a whole number of at least 2", "10", ge=2)
    group: int | None = key(
        None,
        "join the speakers of loso, or the sessions of loseso, into so many groups with like "
        "shares of the classes, and hold out one group at a time",
        "a whole number of at least 2, or null",
        "10",
        ge=2,
    )
    column: str | None = key(
        None,
        "the column that split and column read; none: split, or fold",
        "the name of a column of the corpus, or null",
        "session",
        min_length=1,
    )
    train: Names = key((), _PARTS.format("to train on", "train"), "a list of names", "[Train]")
    dev: Names = key(
        (),
        _PARTS.format("that stop the training and score a setting", "dev or validation")
        + "; where there are none, a share of the training speakers (validation.share)",
        "a list of names",
        "[Development]",
    )
    test: Names = key(
        (),
        _PARTS.format("to test on, each scored apart", "test, test1 and so on"),
        "a list of names",
        "[Test1,Test2]",
    )

    def identity(self) -> Tree:
        """What of it makes a study: studies from before there were columns keep their names."""
        own: Tree = thaw(self.model_dump())
        return {name: x for name, x in own.items() if name in ("name", "folds") or x}

    def problems(self, validation: str) -> list[str]:
        """What is wrong with these values together, and with a rule of validation."""
        problems = []
        if self.group is not None and self.name not in ("loso", "loseso"):
            problems.append(
                f"protocol.group={self.group} joins speakers or sessions that are held out, but "
                f"protocol={self.name}; leave it out, or write protocol=loso"
            )
        for part in ("train", "dev", "test"):
            if getattr(self, part) and self.name != "split":
                problems.append(
                    f"protocol.{part} names parts of a column of protocol=split, but "
                    f"protocol={self.name}; leave it out, or write protocol=split"
                )
        if self.column is not None and self.name not in COLUMNS:
            problems.append(
                f"protocol.column={self.column} is read by protocol=split and protocol=column, but "
                f"protocol={self.name}; leave it out, or write one of these"
            )
        if validation == "column" and self.name != "column":
            problems.append(
                "validation=column reads the column validation under protocol=column, but "
                f"protocol={self.name}; write validation=next or validation=share"
            )
        return problems


class OuterConfig(ConfigSection):
    """Whether every held-out group gets a search of its own."""

    outer: bool = key(
        False,
        "after the search, search once more for each speaker (session, ...) who is held out, who "
        "is then in no training and no validation that the sampler has seen; the report has their "
        "estimate beside honest",
        "true or false",
        "true",
    )
    folds: int | None = key(
        None,
        "under search.outer=true, how many folds each of these searches has; none: as many as "
        "there are validation parts that share nothing",
        "a whole number of at least 2, or null",
        "5",
        ge=2,
    )

    def problems(self, protocol: str, validation: str) -> list[str]:
        """What is wrong with these values together, and with a division."""
        if self.folds is not None and not self.outer:
            return [
                f"search.folds={self.folds} is of the searches of search.outer=true; leave it out, "
                "or write search.outer=true"
            ]
        given = f"protocol={protocol}" if protocol == "split" else ""
        given = given or (f"validation={validation}" if validation == "column" else "")
        if self.outer and given:
            return [
                f"search.outer=true lets each of the training speakers validate in turn, but "
                f"{given} says who validates; leave search.outer out, or divide by protocol=loso"
            ]
        return []


class ValidationConfig(ConfigSection):
    """Who stops the training, and who scores a setting."""

    rule: Literal["next", "share", "column"] = key(
        "next",
        "which speakers validate a fold: the next ones in the list (next; sessions under "
        "loseso, folds under column), a random share of those that are not tested (share; always "
        "so under loco and pairs), or the clips whose column validation names the fold (column; "
        "under protocol=column)",
        "next, share or column",
        "next",
    )
    speakers: int = key(
        1,
        "how many speakers (or sessions) validation=next takes",
        "a whole number of at least 1",
        "1",
        ge=1,
    )
    share: float = key(
        0.2,
        "the share of the speakers that validation=share takes",
        "a number above 0 and at most 0.5",
        "0.2",
        gt=0,
        le=0.5,
    )
    select: int = key(
        0,
        "how many further speakers (or sessions) score a setting without stopping its "
        "training; with 0 the same ones do both",
        "a whole number of at least 0",
        "1",
        ge=0,
    )

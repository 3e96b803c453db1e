"""The class names that corpora share, their synonyms, and the choice and merging of classes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from raysearch.errors import near

COMMON = (
    "neutral",
    "calm",
    "happy",
    "excited",
    "sad",
    "angry",
    "frustrated",
    "fearful",
    "disgust",
    "surprised",
    "bored",
    "contempt",
    "other",
)

_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "neutral": ("neu", "neutrality", "neutral state"),
    "calm": ("calmness", "relaxed"),
    "happy": ("hap", "happiness", "joy", "joyful"),
    "excited": ("exc", "excitement"),
    "sad": ("sadness",),
    "angry": ("ang", "anger"),
    "frustrated": ("fru", "frustration"),
    "fearful": ("fea", "fear", "anxiety", "anxious", "afraid"),
    "disgust": ("dis", "disgusted"),
    "surprised": ("sur", "surprise"),
    "bored": ("bor", "boredom"),
    "contempt": ("con", "contemptuous"),
    "other": ("oth",),
}
_UNSEEN = {"Cc", "Cf"}
"""kinds of characters that no one sees: a zero-width space, a byte order mark"""
_CANONICAL = {s: name for name, synonyms in _SYNONYMS.items() for s in (name, *synonyms)}


def common_name(label: str) -> str:
    """The common class name of a label: 'Anger' -> 'angry'. A name nobody shares is kept."""
    text = label.strip()
    return _CANONICAL.get(text.lower(), text)


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """The distinct labels, common names first and in their usual order, then the others sorted."""
    distinct = {label for label in labels if label}
    return (*(n for n in COMMON if n in distinct), *sorted(distinct.difference(COMMON)))


_MISSING = {
    *("", "none", "nan", "null", "nil", "na", "nat", "missing", "empty", "undefined", "unknown"),
    *("unk", "unlabelled", "unlabeled", "notlabelled", "notlabeled", "nolabel", "noannotation"),
}
"""words, by their letters and digits alone, that look as if there were none"""


def looks_missing(word: str) -> bool:
    """Whether a cell's word looks as if there were none: None, nan, N/A, -, ?, -1."""
    return "".join(filter(str.isalnum, word.casefold())) in _MISSING or word == "-1"


def look_alikes(names: Iterable[str], apart: bool = True) -> list[tuple[str, ...]]:
    """Names that a person takes for one: they differ in case, signs, blanks or leading zeros.

    Args:
        names: compared with each other.
        apart: blanks and signs keep words apart: 1-1 is like 1_1, and not like 11.
    """
    between = " " if apart else ""
    alike: dict[str, set[str]] = {}
    for name in names:
        text = unicodedata.normalize("NFKC", name).casefold()
        seen = "".join(sign for sign in text if unicodedata.category(sign) not in _UNSEEN)
        words = re.findall(r"[^\W_]+", re.sub(r"(\d)\.0+(?!\d)", r"\1", seen))
        key = between.join(word.lstrip("0") or "0" for word in words) or seen
        alike.setdefault(key, set()).add(name)
    return [tuple(sorted(several)) for several in alike.values() if len(several) > 1]


@dataclass(frozen=True)
class ClassChoice:
    """The classes of a study, and which corpus label belongs to which of them."""

    classes: tuple[str, ...]
    member: Mapping[str, str]  # a corpus's label -> the study's class; labels left out are absent
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def choose(
    request: Sequence[str] | None,
    declared: Mapping[str, Sequence[str]],
    present: Mapping[str, set[str]],
) -> ClassChoice:
    """Choose the study's classes.

    Args:
        request: names, each perhaps several joined by '+' ('happy+excited' is one class, 'happy');
            None takes what the corpora share.
        declared: corpus -> its classes, in its order.
        present: corpus -> the labels that occur in it.

    Returns:
        The classes; what is wrong with the request is among its `problems`, not raised.
    """
    if request is None:
        return _shared(declared, present)
    available = in_order(label for labels in present.values() for label in labels)
    member: dict[str, str] = {}
    classes: list[str] = []
    problems: list[str] = []
    for word in request:
        parts = [common_name(part) for part in str(word).split("+")]
        for part in parts:
            if part not in available:
                listing = ", ".join(available) or "none"
                problems.append(
                    f"corpus.classes names {part!r}, which no chosen corpus has"
                    f"{near(part, available)}: the classes there are: {listing}."
                )
            elif part in member:
                problems.append(f"corpus.classes names {part!r} twice: name each class once.")
            else:
                member[part] = parts[0]
        classes.append(parts[0])
    if not problems and len(classes) < 2:
        problems.append(
            f"corpus.classes has {len(classes)} class: a classifier needs at least 2; "
            f"there are: {', '.join(available)}."
        )
    notes: list[str] = []
    for corpus, labels in present.items():
        reached = {member.get(label) for label in labels}
        lacking = [c for c in classes if c not in reached]
        if labels and lacking and not problems:
            notes.append(f"{corpus} has no clips of {', '.join(lacking)}.")
    return ClassChoice(tuple(classes), member, tuple(notes), tuple(problems))


def _shared(declared: Mapping[str, Sequence[str]], present: Mapping[str, set[str]]) -> ClassChoice:
    """The classes of every corpus: all of them where they agree, else those that all have."""
    labelled = {name: labels for name, labels in present.items() if labels}
    notes: list[str] = []
    for name, labels in labelled.items():
        lacking = [c for c in declared[name] if c not in labels]
        if lacking:
            notes.append(f"{name} has no clips of {', '.join(lacking)} here.")
    union = set().union(*labelled.values()) if labelled else set()
    common = set(union).intersection(*labelled.values()) if labelled else set()
    order: list[str] = []
    for name in labelled:
        order.extend(c for c in (*declared[name], *in_order(labelled[name])) if c not in order)
    classes = tuple(c for c in order if c in common)
    if common != union:
        rest = ", ".join(c for c in order if c in union - common)
        notes.append(
            f"The corpora differ in their classes: only those that all have are used "
            f"({', '.join(classes)}); left out: {rest}. corpus.classes=[..] chooses others."
        )
    problems = []
    if len(classes) < 2:
        have = "; ".join(f"{n}: {', '.join(in_order(s)) or 'none'}" for n, s in present.items())
        problems.append(
            f"The chosen corpora share {len(classes)} classes ({have}): a classifier needs at "
            "least 2; choose them with corpus.classes=[..], or other corpora."
        )
    return ClassChoice(classes, {c: c for c in classes}, tuple(notes), tuple(problems))

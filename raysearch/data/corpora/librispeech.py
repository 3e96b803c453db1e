"""LibriSpeech: read English without emotion labels, for training on unlabelled speech.

Panayotov et al., ICASSP 2015. Clips lie in SUBSET/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER.flac, and
their texts beside them in SPEAKER-CHAPTER.trans.txt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raysearch.data.corpora.corpus import CorpusInfo, Problem, Raw
from raysearch.data.corpora.files import (
    audio_files,
    clip_table,
    misnamed,
    one_of,
    rooted,
    text_lines,
)
from raysearch.errors import BadInput

SUBSETS = (
    "train-clean-100",
    "train-clean-360",
    "train-other-500",
    "dev-clean",
    "dev-other",
    "test-clean",
    "test-other",
)
_NAME = re.compile(r"(\d+)-(\d+)-\d+")


@rooted
def _read(root: Path, options: Mapping[str, Any]) -> Raw:
    subset = one_of(options, "subset", SUBSETS)
    places = [root / subset, root / "LibriSpeech" / subset]
    if root.name == subset:
        places.insert(0, root)
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        raise BadInput(f"corpus.root={root} holds no {subset}: {LAYOUT}.")
    files = audio_files(folder, deep=True)
    texts: dict[str, str] = {}
    for path in sorted(folder.rglob("*.trans.txt")):
        for line in text_lines(path):
            clip, _, text = line.partition(" ")
            texts[clip] = text
    rows: list[tuple[str, ...]] = []
    problems: list[Problem] = []
    for path in files:
        match = _NAME.fullmatch(path.stem)
        if match is None:
            problems.append(misnamed("librispeech", path.name, "103-1240-0000.flac"))
            continue
        where, speaker = str(path.absolute()), f"librispeech/{match[1]}"
        clip, text = f"librispeech/{path.stem}", texts.get(path.stem, "")
        rows.append((clip, where, "librispeech", speaker, "", "", text))
    if not rows:
        raise BadInput(f"{folder} holds no clips named like 103-1240-0000.flac: {LAYOUT}.")
    silent = sum(not row[-1] for row in rows)
    notes = (f"librispeech: {silent} clips have no transcript beside them.",) if silent else ()
    return Raw(table=clip_table(rows), classes=(), notes=notes, problems=tuple(problems))


LAYOUT = "give the folder that holds train-clean-100/103/1240/103-1240-0000.flac and the others"
INFO = CorpusInfo(
    name="librispeech",
    description="LibriSpeech: read English without labels, for corpus.unlabelled",
    read=_read,
    published={"": 28539},
    speakers=251,
    source="https://www.openslr.org/12 (CC BY 4.0)",
    layout=LAYOUT,
    options={"subset": f"{SUBSETS[0]} (default; the counts are its), or another of the release"},
    counted="Ahn et al. 2024: 28,539 clips of train-clean-100; its 251 speakers from memory of "
    "Panayotov et al. 2015",
)

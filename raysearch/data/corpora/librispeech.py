"""LibriSpeech: read English without emotion labels, for training on unlabelled speech.

Panayotov et al., ICASSP 2015. Clips lie in SUBSET/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER.flac, and
their texts beside them in SPEAKER-CHAPTER.trans.txt.
"""

from __future__ import annotations

import re
from pathlib import Path

from raysearch.data.corpora.corpus import CorpusInfo, Options, Problem, Raw
from raysearch.data.corpora.folders import audio_files, find_folders
from raysearch.data.corpora.readers import (
    ClipRow,
    clip_row,
    clip_table,
    name_problem,
    one_of,
    text_lines,
    with_root,
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


@with_root
def _read(root: Path, options: Options) -> Raw:
    subset = one_of(options, "subset", SUBSETS)
    inner = [root] if root.name == subset else find_folders(root, re.escape(subset))
    folder = next(iter(inner), None)
    if folder is None:
        raise BadInput(f"corpus.root={root} holds no {subset}: {LAYOUT}.")
    files = audio_files(folder, deep=True)
    texts: dict[str, str] = {}
    for path in sorted(folder.rglob("*.trans.txt")):
        for line in text_lines(path):
            clip, _, text = line.partition(" ")
            texts[clip] = text
    rows: list[ClipRow] = []
    problems: list[Problem] = []
    for path in files:
        match = _NAME.fullmatch(path.stem)
        if match is None:
            problems.append(name_problem("librispeech", path.name, "103-1240-0000.flac"))
            continue
        text = texts.get(path.stem, "")
        rows.append(clip_row("librispeech", path.stem, path, match[1], "", transcript=text))
    if not rows:
        raise BadInput(f"{folder} holds no clips named like 103-1240-0000.flac: {LAYOUT}.")
    silent = sum(not row.transcript for row in rows)
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

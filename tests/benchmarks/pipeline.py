"""Whether fine-tuning on audio waits for its rows: the training step must be the bottleneck.

    python tests/benchmarks/pipeline.py --emodb DIR
    python tests/benchmarks/pipeline.py --emodb DIR --ssl FOLDER --width 1

One fold of label correction on real clips (towards hard labels), by the arch's
three inputs. One thread trains and one reads ahead: it cuts, pre-emphasises, levels and pads the
next batches. Busy is the share of the steps' time that was not spent waiting for a batch. The
`tiny` encoder has untrained weights and the shortest steps, so it is the hardest to keep fed.
"""

from __future__ import annotations

import time

import common


def main() -> None:
    parser = common.parser(__doc__)
    common.corpus_options(parser)
    parser.set_defaults(width=0.5, epochs=3)
    parser.add_argument("--ssl", default="tiny", help="speech encoder: tiny, a folder or a name")
    args = parser.parse_args()
    if args.emodb is None:
        parser.error("--emodb DIR is needed: the pipeline is measured on real clips")
    from raysearch.data.features import local_chunks
    from raysearch.stages import Runtime, calls, execute
    from raysearch.stages.methods import method
    from trainables import loop
    from trainables.optimisation import Fit

    seen: list[Fit] = []
    fit = loop.fit

    def watched(training: loop.Training) -> Fit:
        seen.append(fit(training))
        return seen[-1]

    loop.fit = watched
    figures = common.Figures("pipeline")
    with common.workplace(args.keep) as folder:
        words = [
            *common.corpus_words(folder, args.emodb),
            "space=label_correction",
            "votes=simulate",
        ]
        inputs = common.inputs_of([*words, f"home={folder / 'home'}"], folder)
        dataset, about = inputs.dataset(run_chunks=local_chunks), inputs.context()
        label_correction = method("label_correction")
        for arch in ("fused", "temporal", "spatial"):
            setting = {
                "strategy": "hard",
                "arch": arch,
                "ssl": args.ssl,
                "width": args.width,
                "epochs": args.epochs,
                "patience": args.epochs,
                "lr": 1e-3,
            }
            (call,) = calls(label_correction, label_correction.resolve(setting), 0, about)
            began = time.perf_counter()
            execute(call, dataset, (), Runtime())
            seconds = time.perf_counter() - began
            audio = float(dataset.frames["wave"].lengths[dataset.folds[0].train].sum()) / 16000
            figures.add(f"{arch}: busy", 100 * seen[-1].busy, "%", least=90)
            figures.add(
                f"{arch}: seconds of speech trained on a second",
                audio * seen[-1].epochs / seconds,
                "times",
            )
    figures.close(args.json)


if __name__ == "__main__":
    main()

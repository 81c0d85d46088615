"""The data sets that fine-tuning is compared on."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """One data set: its task, its files, how it is trained, and the customary measure."""

    task: str
    files: tuple[str, str]
    score: str
    max_length: int = 128
    epochs: int = 3
    names: tuple[str, ...] | None = None


#: Name -> data set; files below the folder of all of them.
SETS = {
    "sst2": Benchmark("classification", ("sst2/train.tsv", "sst2/dev.tsv"), "accuracy", epochs=1),
    "mrpc": Benchmark("classification", ("mrpc/train.tsv", "mrpc/dev.tsv"), "accuracy"),
    "rte": Benchmark("classification", ("rte/train.tsv", "rte/dev.tsv"), "accuracy", max_length=256),
    "cola": Benchmark(
        "classification",
        ("cola/train.tsv", "cola/dev.tsv"),
        "matthews",
        names=("source", "label", "star", "sentence"),
    ),
    "trec": Benchmark("classification", ("trec/train.tsv", "trec/dev.tsv"), "accuracy"),
    "stsb": Benchmark("regression", ("stsb-en/train.tsv", "stsb-en/dev.tsv"), "spearman"),
    "conll2003": Benchmark("tagging", ("conll2003/train.txt", "conll2003/dev.txt"), "f1"),
    "squad": Benchmark(
        "question_answering", ("squad-v1.1/train.json", "squad-v1.1/dev.json"), "f1", max_length=384, epochs=2
    ),
}

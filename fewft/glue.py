"""GLUE's tasks: where each one's columns are, how it is scored, how many rows the hub has."""

from dataclasses import dataclass

NLI = ("entailment", "not_entailment")


@dataclass(frozen=True)
class Task:
    """One data set: where its columns are and how it is scored."""

    name: str
    folder: str  # in the classic glue_data/ layout
    text: tuple[str, ...]  # one or two columns
    label: str
    labels: tuple[str, ...]  # in the order of the model's outputs; () for regression
    metric: str  # reported, Table 3
    header: tuple[str, ...] = ()  # columns of files without a header line
    dev: str = "dev.tsv"
    hub_text: tuple[str, ...] = ()  # where the hub's columns differ
    hub_label: str = "label"

    @property
    def num_labels(self) -> int:
        """Outputs of the classification head; 1 for regression."""
        return len(self.labels) or 1


_PAIR = ("sentence1", "sentence2")
GLUE = {
    t.name: t
    for t in (
        Task("rte", "RTE", _PAIR, "label", NLI, "accuracy"),
        Task(
            "mrpc", "MRPC", ("#1 String", "#2 String"), "Quality", ("0", "1"), "f1", hub_text=_PAIR
        ),
        Task("stsb", "STS-B", _PAIR, "score", (), "spearman"),
        Task(
            "cola", "CoLA", ("sentence",), "label", ("0", "1"), "matthews",
            header=("source", "label", "star", "sentence"),
        ),
        Task("sst2", "SST-2", ("sentence",), "label", ("0", "1"), "accuracy"),
        Task("qnli", "QNLI", ("question", "sentence"), "label", NLI, "accuracy"),
        Task("qqp", "QQP", ("question1", "question2"), "is_duplicate", ("0", "1"), "accuracy"),
        Task(
            "mnli", "MNLI", _PAIR, "gold_label", ("entailment", "neutral", "contradiction"), "accuracy",
            dev="dev_matched.tsv", hub_text=("premise", "hypothesis"),
        ),
    )
}  # fmt: skip
HUB_ROWS = {"rte": 2490, "mrpc": 3668, "stsb": 5749, "cola": 8551, "sst2": 67349, "qnli": 104743, "qqp": 363846,
            "mnli": 392702}  # fmt: skip  # training rows of nyu-mll/glue: fewer means a sample
HUB_DEV_ROWS = {"qqp": 40430, "mnli": 9815}  # development rows there, of the tasks whose sample is cut in them too

"""The data sets as they are: counts, majority baselines and lengths, kept in `results/datasets.csv`."""

from pathlib import Path

import pandas as pd

from fewft import studies, tasks
from fewft.config import UsageError, check_choice, names_in
from fewft.glue import HUB_ROWS
from fewft.metrics import majority_baseline
from fewft.results import replace_file
from fewft.splits import PARTS, Split

MEASURED_LENGTH = 128  # tokens at which examples are cut before their mean length is taken


def record(names: str = "", *, results: str = "results") -> pd.DataFrame:
    """Store counts and majority baselines of tasks in `<results>/datasets.csv`, in place of those of the same name.

    Args:
        names: comma separated; empty: every GLUE task, its 1k version, and the bundled ones.
        results: as for `experiments.load`.

    Raises:
        UsageError: unknown task, or its data cannot be read.

    Paper: Appendix A, Table 3.
    """
    chosen = names_in(names) or tasks.names()
    path = studies.root() / results / "datasets.csv"
    table = pd.DataFrame([describe(name) for name in chosen])
    kept = _read(path)
    if len(kept):
        table = pd.concat([kept[~kept.task.isin(chosen)], table])
    table = table.sort_values("task", key=lambda column: column.map(tasks.names().index))
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, table.to_csv(index=False).encode())
    return table


def stored(results: str = "results") -> pd.DataFrame:
    """The stored counts and baselines, by task; empty when none were stored."""
    found = _read(studies.root() / results / "datasets.csv")
    return found.set_index("task") if len(found) else found


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame()
    try:
        found = pd.read_csv(path)
        for task in found["task"]:  # KeyError: a table of something else
            check_choice("task", task, tasks.names())
    except (ValueError, KeyError) as error:  # pandas' own errors are ValueErrors
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"results: {str(path)!r} cannot be read ({reason}); accepted: what fewft data wrote"
        ) from error
    return found


def describe(name: str, data: str = "", max_seq_length: int = MEASURED_LENGTH) -> dict[str, object]:
    """Counts, majority baselines and lengths of one task: the rows of Table 3 and of `fewft plan`, from the data.

    Args:
        name, data: as for `tasks.load`.
        max_seq_length: tokens of BERT's uncased vocabulary at which examples are cut, for their mean lengths.

    Paper: Appendix A, Table 3.
    """
    loaded = tasks.load(name, data)
    base = name.removesuffix("-1k")
    lengths = {f"mean_tokens_{part}": _mean_tokens(getattr(loaded, part), max_seq_length) for part in PARTS}
    return {
        "task": name,
        "num_train": len(loaded.train),
        "num_validation": len(loaded.validation),
        "num_test": len(loaded.test),
        "metric": loaded.metric,
        "majority_validation": majority_baseline(loaded.metric, loaded.validation.labels, loaded.majority),
        "majority_test": majority_baseline(loaded.metric, loaded.test.labels, loaded.majority),
        "source": loaded.source,
        "train_rows": loaded.train_rows,
        "hub_train_rows": HUB_ROWS.get(base, 0),
        **lengths,
        "digest": loaded.digest,
    }


def _mean_tokens(split: Split, max_seq_length: int) -> float:
    """With the tokenizer of the bundled MiniLM, whose vocabulary is that of BERT's uncased models."""
    from fewft.models import encode
    from fewft.sources import load_tokenizer

    return round(float(encode(load_tokenizer("bundled:minilm"), split, max_seq_length).lengths.mean()), 3)

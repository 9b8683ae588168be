"""What one run gave, and where: the row that is stored of it."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from fewft.config import CORE_VERSION, RunConfig

NAN = float("nan")


@dataclass(kw_only=True)
class RunResult:
    """What one run gave, and where. Scores are fractions, of the task's reported metric unless said otherwise."""

    config: RunConfig
    status: str = "ok"  # ok, diverged (a number was not finite), failed (did not run to an end)
    reason: str = ""  # of diverged and failed
    metric: str = ""
    eval_steps: list[int] = field(default_factory=list)  # after how many optimizer steps
    val_scores: list[float] = field(default_factory=list)  # selection metric, at each evaluation
    best_val: float = NAN  # selection metric at the best checkpoint
    best_step: int = 0  # 0: no evaluation gave a number
    val_reported: float = NAN  # at the best checkpoint
    val_last: float = NAN
    test_best: float = NAN
    test_last: float = NAN
    majority_val: float = NAN
    majority_test: float = NAN
    degenerate: bool = True  # test_best does not beat the majority baseline
    collapsed_step: int = 0  # since this evaluation, to the end, one answer for all of the validation set; 0: not so
    train_loss: list[float] = field(default_factory=list)  # one per step, mean over the batch
    distance_steps: list[int] = field(default_factory=list)  # after how many optimizer steps
    block_distances: list[list[float]] = field(default_factory=list)  # L2, at each of these steps, bottom block first
    num_steps: int = 0  # planned
    seconds: float = NAN  # wall time of the whole run, loading and evaluation included
    train_seconds: float = NAN  # wall time of the steps
    tokens: int = 0  # real ones, trained on
    packed: bool = False  # whether batches went through as packed rows, or else as micro-batches
    captured: bool = False  # whether the steps ran as CUDA graphs
    intermediate_sha256: str = ""  # of the encoder that the intermediate run left, where there was one
    data_source: str = ""
    data_digest: str = ""
    core_version: int = CORE_VERSION
    environment: dict[str, Any] = field(default_factory=dict)  # versions, device, threads, commit

    def record(self) -> dict[str, Any]:
        """One flat row: the run's id, its config, and all that is above."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        config, environment = values.pop("config"), values.pop("environment")
        return {"run_id": config.run_id, **config.to_dict(), **values, **environment}

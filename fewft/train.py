"""One fine-tuning: the paper's loop, with its evaluations, its two seeds and its two arms."""

import dataclasses
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import Tensor, nn

from fewft import models, sources, tasks, weights
from fewft.batching import EVAL_TOKENS, Encoded, Piece, evaluation_batches, make_pieces
from fewft.config import CORE_VERSION, RunConfig
from fewft.environment import environment, pick_device
from fewft.graphs import GraphStep
from fewft.kernels import Clipper, wide_products
from fewft.metrics import is_constant, is_degenerate, majority_baseline, score
from fewft.mixout import draw_masks
from fewft.optim import PriorDecay, linear_schedule, make_optimizer, set_learning_rate

NAN = float("nan")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


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


class IntermediateError(RuntimeError):
    """The run on the intermediate task gave no encoder to go on with."""


def fine_tune(config: RunConfig, *, device: str = "auto", keep: bool = False) -> RunResult:
    """Fine-tune, evaluate and test one model.

    A loss, a gradient norm or an output at the end that is not finite makes the run `diverged`: a result, not an error,
    whose reason names the step. With fp16 a norm may be, for such steps are skipped. A model that gives one answer to
    everything is `ok`: see `collapsed_step`.

    Args:
        config: the run.
        device: auto (CUDA where there is one), cpu, cuda or cuda:N.
        keep: whether the encoder of the best checkpoint is kept (`weights.save_encoder`), for runs that start from it; a
            diverged run's is not.

    Raises:
        UsageError: an unknown device, task or model, before training.
        IntermediateError: the run on the intermediate task, done here where its encoder is not kept, diverged.

    Paper: Section 3, "Experimental Setup"; Section 4.
    """
    trainer = trained(config, device=device)
    result = trainer.result
    if keep and result.best_step and result.status == "ok":
        weights.save_encoder(config.run_id, models.encoder_state(trainer.model))
    return result


def trained(config: RunConfig, *, device: str = "auto") -> "Trainer":
    """A run after its test; where an evaluation gave a number, its model has the weights of the best checkpoint.

    Args:
        config, device: as for `fine_tune`.

    Raises:
        UsageError, IntermediateError: as `fine_tune`.
    """
    started = time.perf_counter()
    trainer = prepare(config, device=device)
    devices = [trainer.device] if trainer.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), wide_products(trainer.device, config.precision):
        torch.manual_seed(config.data_seed)  # dropout; the order has a generator of its own
        trainer.run()
    result = trainer.result
    result.degenerate = is_degenerate(result.test_best, result.majority_test)
    result.seconds = time.perf_counter() - started
    return trainer


def prepare(config: RunConfig, *, device: str = "auto") -> "Trainer":
    """A run before its first step.

    Args:
        config, device: as for `fine_tune`.

    Raises:
        UsageError: as `fine_tune`.
    """
    where = pick_device(device)
    data = tasks.load(config.task, config.data)
    start, sha256 = _intermediate_encoder(config, device)
    sets = {p: _encoded(config.task, config.data, config.model, config.max_seq_length, p) for p in PARTS}
    used = torch.as_tensor(np.unique(np.concatenate(sets["train"].input_ids)))
    encoder = models.load(config, data.num_labels, None if config.weight_decay else used, start)  # decay moves all rows
    result = RunResult(
        config=config, metric=data.metric, packed=encoder.packed, data_source=data.source, data_digest=data.digest,
        captured=encoder.packed and where.type == "cuda" and config.precision in DTYPES,
        majority_val=majority_baseline(data.metric, data.validation.labels, data.majority),
        majority_test=majority_baseline(data.metric, data.test.labels, data.majority),
        num_steps=config.num_steps(len(data.train)), intermediate_sha256=sha256, environment=environment(where),
    )  # fmt: skip
    return Trainer(config, data, encoder, sets, where, result)


def _intermediate_encoder(config: RunConfig, device: str) -> tuple[dict[str, Tensor] | None, str]:
    """The kept encoder of the intermediate run and its sha256, after that run where it is not kept; else None."""
    first = config.intermediate()
    if first is None:
        return None, ""
    weights.encoder_file(first.run_id).parent.mkdir(parents=True, exist_ok=True)
    with FileLock(weights.encoder_file(first.run_id).with_suffix(".lock")):
        found = weights.load_encoder(first.run_id)
        if found is None:
            models.load(config, 2)  # what is wrong with this run is said before the other is trained
            done = fine_tune(first, device=device, keep=True)
            found = weights.load_encoder(first.run_id)
            if found is None or done.status != "ok":
                raise IntermediateError(
                    f"intermediate run {first.run_id} on {first.task!r} {done.status}: {done.reason}"
                )
    return found


PARTS = ("train", "validation", "test")


@lru_cache(maxsize=16)
def _encoded(task: str, data: str, model: str, max_seq_length: int, part: str) -> Encoded:
    tokenizer = sources.load_tokenizer(model)
    return models.encode(tokenizer, getattr(tasks.load(task, data), part), max_seq_length)


class Trainer:
    """The state of one fine-tuning."""

    def __init__(
        self, config: RunConfig, data: tasks.TaskData, encoder: models.Encoder, sets: dict[str, Encoded],
        device: torch.device, result: RunResult,
    ) -> None:  # fmt: skip
        self.config, self.data, self.sets, self.device, self.result = config, data, sets, device, result
        self.model = encoder.model.to(device)
        self.pieces = partial(
            make_pieces, packed=encoder.packed, pad_id=encoder.tokenizer.pad_token_id or 0,
            first_position=encoder.first_position, device=device, pad_left=encoder.pad_left,
        )  # fmt: skip
        self.labels = sets["train"].labels.to(device)
        self.optimizer = make_optimizer(self.model.named_parameters(), config, models.depths(self.model))
        self.prior = PriorDecay(self.optimizer, config.prior_weight_decay) if config.prior_weight_decay else None
        self.mixed = encoder.mixed
        blocks = [list(block.parameters()) for block in models.all_blocks(self.model)] if config.num_distances else []
        self.blocks = [(block, [p.detach().clone() for p in block]) for block in blocks]  # as they are, as they were
        self.clipper = Clipper(list(self.model.parameters()))
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        total = result.num_steps
        self.losses, self.norms = (torch.full((total,), NAN, device=device) for _ in range(2))
        warmup = config.warmup_ratio, config.warmup_steps
        shares = [linear_schedule(step, total, *warmup) for step in range(total)]
        self.rates = [config.learning_rate * share for share in shares]
        self.done = 0  # steps
        self.graph = self.graph_step(encoder) if result.captured else None
        self.best = [torch.empty_like(p) for p in self.model.parameters()]  # its own memory, never the live weights
        self.eval_pieces: dict[str, list[tuple[np.ndarray, list[Piece]]]] = {}

    def graph_step(self, encoder: models.Encoder) -> GraphStep:
        """The step as CUDA graphs."""
        return GraphStep(
            self.model, self.optimizer, self.scaler, self.config, self.sets["train"],
            first_position=encoder.first_position, schedule=torch.tensor(self.rates, device=self.device),
            losses=self.losses, norms=self.norms, example_losses=example_losses, dtype=DTYPES[self.config.precision],
            capture=self.device.type == "cuda", mixed=self.mixed, prior=self.prior,
        )  # fmt: skip

    def run(self) -> None:
        """All steps with their evaluations, then the test scores."""
        total, out = self.result.num_steps, self.result
        every, apart = max(1, total // self.config.num_evals), max(1, total // max(1, self.config.num_distances))
        order = batches(len(self.labels), self.config)
        distances: list[Tensor] = []  # on the device: none waits for it
        out.train_seconds, begun = 0.0, time.perf_counter()
        for step in range(1, total + 1):
            self.step(next(order))
            if self.blocks and (step % apart == 0 or step == total):
                out.distance_steps.append(step)
                distances.append(self.distances())
            if step % every == 0 or step == total:
                reason = self.first_fault()  # waits for the device
                out.train_seconds += time.perf_counter() - begun
                if reason:
                    self.diverge(reason)
                    break
                self.evaluate(step)
                begun = time.perf_counter()
        out.train_loss = self.losses[: self.done].tolist()
        out.block_distances = [row.tolist() for row in distances]
        self.test()

    def first_fault(self) -> str:
        """The first of the losses and gradient norms so far that is not finite, with its step; empty where all are.

        Of fp16's norms none is at fault: loss scaling skips these steps.
        """
        kinds = {"loss": self.losses}
        if not self.scaler.is_enabled():
            kinds["gradient norm"] = self.norms
        values = torch.stack([history[: self.done] for history in kinds.values()], dim=1).cpu()  # (steps, kinds)
        bad = (~values.isfinite()).nonzero().tolist()  # by step; a step's loss comes before its gradient
        if not bad:
            return ""
        step, kind = bad[0]
        return f"{list(kinds)[kind]} is {values[step, kind]:g} at step {step + 1}"

    def diverge(self, reason: str) -> None:
        """The outcome of a run with numbers that are not finite."""
        self.result.status, self.result.reason, self.result.collapsed_step = "diverged", reason, 0

    @torch.no_grad()
    def distances(self) -> Tensor:
        """L2 distance of each block's parameters, taken together, from their values before the first step: (blocks,).

        Paper: Section 5, Figure 7.
        """
        return torch.stack([nn.utils.get_total_norm(torch._foreach_sub(now, start)) for now, start in self.blocks])

    def step(self, batch: np.ndarray) -> None:
        """One optimizer step; the batch's mean loss and the gradient's norm stay on the device, in `losses`, `norms`."""
        self.model.train()
        if self.graph:
            self.result.tokens += self.graph.step(batch)
        else:
            self.eager_step(batch)
        self.done += 1

    def eager_step(self, batch: np.ndarray) -> None:
        """The step as separate operations."""
        draw_masks(self.mixed)
        loss = torch.zeros((), device=self.device)
        for piece in self.pieces(self.sets["train"], batch):
            with self.autocast():
                logits = self.model(**piece.inputs).logits
            labels = self.labels[torch.as_tensor(batch, device=self.device)[piece.index]]
            part = example_losses(logits.float(), labels).sum() / len(batch)
            self.scaler.scale(part).backward()
            loss += part.detach()
            self.result.tokens += piece.tokens
        self.losses[self.done] = loss
        set_learning_rate(self.optimizer, self.rates[self.done])
        self.scaler.unscale_(self.optimizer)
        self.norms[self.done] = self.clipper.clip_(self.config.max_grad_norm)
        if self.prior:
            self.prior.apply()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def evaluate(self, step: int) -> None:
        """Score the validation set; a strictly better selection score makes this the best checkpoint."""
        out, labels = self.result, self.data.validation.labels
        logits = self.logits("validation")
        value = score(self.data.selection, logits, labels)
        out.eval_steps.append(step)
        out.val_scores.append(value)
        out.val_last = score(self.data.metric, logits, labels)
        out.collapsed_step = (out.collapsed_step or step) if is_constant(logits) else 0
        if value > out.best_val or (np.isnan(out.best_val) and np.isfinite(value)):
            out.best_val, out.best_step, out.val_reported = value, step, out.val_last
            with torch.no_grad():
                torch._foreach_copy_(self.best, list(self.model.parameters()))

    def test(self) -> None:
        """Test scores of the last and of the best checkpoint; a diverged run has no last one."""
        labels = self.data.test.labels
        if self.result.status == "ok":
            self.result.test_last = score(self.data.metric, self.logits("test"), labels)
            if np.isnan(self.result.test_last):  # what the last step left was not yet part of any loss
                self.diverge(f"outputs are not finite after step {self.done}")
        if self.result.best_step == self.done and self.result.status == "ok":
            self.result.test_best = self.result.test_last
        elif self.result.best_step:
            with torch.no_grad():
                torch._foreach_copy_(list(self.model.parameters()), self.best)
            self.result.test_best = score(self.data.metric, self.logits("test"), labels)

    @torch.no_grad()
    def logits(self, part: str) -> np.ndarray:
        """The model's outputs for a whole split, float (examples, labels), in its order."""
        self.model.eval()
        if part not in self.eval_pieces:
            batches = evaluation_batches(self.sets[part], EVAL_TOKENS[self.device.type])
            self.eval_pieces[part] = [(batch, self.pieces(self.sets[part], batch)) for batch in batches]
        out = torch.empty(len(self.sets[part]), self.data.num_labels)
        for batch, pieces in self.eval_pieces[part]:
            for piece in pieces:
                with self.autocast():
                    values = self.model(**piece.inputs).logits
                out[torch.as_tensor(batch)[piece.index.cpu()]] = values.float().cpu()
        return out.numpy()

    def autocast(self) -> AbstractContextManager[object]:
        """Mixed precision where the config asks for it; Appendix C."""
        dtype = DTYPES.get(self.config.precision)
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)


def example_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, or squared error for one output; float (examples,).

    Args:
        logits: float (examples, labels).
        labels: int (examples,), or float for regression.
    """
    if logits.shape[1] == 1:
        return F.mse_loss(logits[:, 0], labels, reduction="none")
    return F.cross_entropy(logits, labels, reduction="none")


def batches(num_examples: int, config: RunConfig) -> Iterator[np.ndarray]:
    """Uniform random batches, epoch after epoch; the last of an epoch may be short."""
    stream = torch.Generator().manual_seed(config.data_seed)
    while True:
        order = torch.randperm(num_examples, generator=stream).numpy()
        for start in range(0, num_examples, config.train_batch_size):
            yield order[start : start + config.train_batch_size]

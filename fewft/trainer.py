"""The paper's training loop: optimizer steps, evaluations, the best checkpoint, its test score."""

import time
from contextlib import AbstractContextManager
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewft import parts
from fewft.batching import EVAL_TOKENS, Encoded, Piece, batches, evaluation_batches, make_pieces
from fewft.config import RunConfig
from fewft.graphs import GraphStep
from fewft.kernels import Clipper
from fewft.metrics import is_constant, score
from fewft.mixout import draw_masks
from fewft.models import Encoder
from fewft.optim import PriorDecay, linear_schedule, make_optimizer, set_learning_rate
from fewft.outcome import NAN, RunResult
from fewft.tasks import TaskData

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Trainer:
    """The state of one fine-tuning."""

    def __init__(
        self, config: RunConfig, data: TaskData, encoder: Encoder, sets: dict[str, Encoded],
        device: torch.device, result: RunResult,
    ) -> None:  # fmt: skip
        self.config, self.data, self.sets, self.device, self.result = config, data, sets, device, result
        self.model = encoder.model.to(device)
        self.pieces = partial(
            make_pieces, packed=encoder.packed, pad_id=encoder.tokenizer.pad_token_id or 0,
            first_position=encoder.first_position, device=device, pad_left=encoder.pad_left,
        )  # fmt: skip
        self.labels = sets["train"].labels.to(device)
        self.optimizer = make_optimizer(self.model.named_parameters(), config, parts.depths(self.model))
        self.prior = PriorDecay(self.optimizer, config.prior_weight_decay) if config.prior_weight_decay else None
        self.mixed = encoder.mixed
        blocks = [list(block.parameters()) for block in parts.all_blocks(self.model)] if config.num_distances else []
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

    def graph_step(self, encoder: Encoder) -> GraphStep:
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

"""One optimizer step for both arms of Section 4, and the schedule of Section 3."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from fewft.config import RunConfig
from fewft.stats import bias_ratio


class BertAdam(torch.optim.AdamW):
    """Adam with decoupled weight decay and without bias correction.

    With c1 = 1 - beta1^t and c2 = sqrt(1 - beta2^t), AdamW run at rate lr * c1 / c2, epsilon eps / c2 and weight
    decay wd * c2 / c1 takes exactly the uncorrected step, so torch's fused kernel serves both arms.

    Paper: Section 4, Algorithm 1 without lines 9 and 10.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], torch.Tensor] | None = None) -> torch.Tensor | None:
        """One step; the groups' `lr`, `eps` and `weight_decay` are the uncorrected ones before and after."""
        if getattr(self, "found_inf", None):  # set by loss scaling (fp16): an overflow, no step is taken or counted
            return None
        kept = [(g["lr"], g["eps"], g["weight_decay"]) for g in self.param_groups]
        for group, (lr, eps, decay) in zip(self.param_groups, kept, strict=True):
            group["t"] = group.get("t", 0) + 1
            ratio = float(bias_ratio(group["t"], *group["betas"]))
            group.update(
                lr=lr * ratio,
                eps=eps / math.sqrt(1 - group["betas"][1] ** group["t"]),
                weight_decay=decay / ratio,
            )
        try:
            return super().step(closure)
        finally:
            for group, (lr, eps, decay) in zip(self.param_groups, kept, strict=True):
                group.update(lr=lr, eps=eps, weight_decay=decay)


def make_optimizer(named: Iterable[tuple[str, nn.Parameter]], config: RunConfig) -> torch.optim.AdamW:
    """The arm's optimizer; biases and normalisation weights (fewer than two dimensions) are not decayed.

    Paper: Section 4 (arms), Section 7 (weight decay).
    """
    parameters = [p for _, p in named]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    kind = torch.optim.AdamW if config.correct_bias else BertAdam
    betas = (config.adam_beta1, config.adam_beta2)
    return kind(groups, lr=config.learning_rate, betas=betas, eps=config.adam_epsilon, fused=True)


def linear_schedule(step: int, total: int, warmup_ratio: float) -> float:
    """Share of the peak rate at `step` (from 0): a linear rise over the warm-up, then a linear fall to 0.

    Paper: Section 3, "Experimental Setup".
    """
    warmup = int(total * warmup_ratio)
    if step < warmup:
        return step / warmup
    return max(0.0, (total - step) / max(1, total - warmup))

"""One optimizer step for both arms of Section 4, and the schedule of Section 3."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from fewft.config import RunConfig


def make_optimizer(named: Iterable[tuple[str, nn.Parameter]], config: RunConfig) -> torch.optim.AdamW:
    """The arm's optimizer; biases and normalisation weights (fewer than two dimensions) are not decayed.

    AdamW divides the moments by 1 - beta1^t and 1 - beta2^t. BERTAdam is AdamW whose count of steps starts at
    infinity: both are 1 then, and torch's fused kernel serves both arms. On a GPU the rate is a tensor, so that a
    captured step can change it.

    Args:
        named: the parameters, where they will be trained.
        config: of the run.

    Paper: Section 4, Algorithm 1 (BERTAdam: without lines 9 and 10); Section 7 (weight decay).
    """
    parameters = [p for _, p in named]
    on_gpu = parameters[0].is_cuda
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    rate = torch.tensor(config.learning_rate, device=parameters[0].device) if on_gpu else config.learning_rate
    betas = (config.adam_beta1, config.adam_beta2)
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=betas, eps=config.adam_epsilon, fused=True, capturable=on_gpu)
    optimizer._warned_capturable_if_run_uncaptured = True  # the first batch of each row length is not captured
    for p in parameters:
        step = torch.full((), 0.0 if config.correct_bias else math.inf, dtype=torch.float32, device=p.device)
        optimizer.state[p] = {"step": step, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Of all groups; in place where it is a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def linear_schedule(step: int, total: int, warmup_ratio: float) -> float:
    """Share of the peak rate at `step` (from 0): a linear rise over the warm-up, then a linear fall to 0.

    Paper: Section 3, "Experimental Setup".
    """
    warmup = int(total * warmup_ratio)
    if step < warmup:
        return step / warmup
    return max(0.0, (total - step) / max(1, total - warmup))

"""One optimizer step for both arms of Section 4, and the schedule of Section 3."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from fewft.config import RunConfig


def make_optimizer(
    named: Iterable[tuple[str, nn.Parameter]], config: RunConfig, depths: Mapping[str, int] | None = None
) -> torch.optim.AdamW:
    """The arm's optimizer; biases and normalisation weights (fewer than two dimensions) are not decayed.

    AdamW divides the moments by 1 - beta1^t and 1 - beta2^t. BERTAdam is AdamW whose count of steps starts at
    infinity: both are 1 then, and torch's fused kernel serves both arms. On a GPU the rate is a tensor, so that a
    captured step can change it.

    Args:
        named: the parameters, where they will be trained.
        config: of the run.
        depths: of each parameter, as `parts.depths` gives them: LLRD's rate is `layerwise_lr_decay ** depth` times
            the run's. Needed where that decay is not 1.

    Paper: Section 4, Algorithm 1 (BERTAdam: without lines 9 and 10); Section 7.1 (weight decay, LLRD).
    """
    named = list(named)
    device, betas = named[0][1].device, (config.adam_beta1, config.adam_beta2)
    on_gpu = device.type == "cuda"

    def rate(share: float) -> float | torch.Tensor:
        value = config.learning_rate * share
        return torch.tensor(value, device=device) if on_gpu else value

    groups = [
        {
            "params": group, "lr": rate(share), "share": share, "decayed": decayed,
            "weight_decay": config.weight_decay if decayed else 0.0,
        }
        for (share, decayed), group in _groups(named, config, depths).items()
    ]  # fmt: skip
    optimizer = torch.optim.AdamW(
        groups, lr=rate(1.0), betas=betas, eps=config.adam_epsilon, fused=True, capturable=on_gpu
    )
    optimizer._warned_capturable_if_run_uncaptured = True  # the first batch of each row length is not captured
    for p in (p for group in groups for p in group["params"]):
        step = torch.full((), 0.0 if config.correct_bias else math.inf, dtype=torch.float32, device=p.device)
        optimizer.state[p] = {"step": step, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
    return optimizer


def _groups(
    named: Iterable[tuple[str, nn.Parameter]], config: RunConfig, depths: Mapping[str, int] | None
) -> dict[tuple[float, bool], list[nn.Parameter]]:
    """The parameters by share of the rate, and by whether they are decayed."""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, p in named:
        share = config.layerwise_lr_decay ** depths[name] if config.layerwise_lr_decay != 1 else 1.0
        groups.setdefault((share, p.ndim >= 2), []).append(p)
    return groups


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float | torch.Tensor) -> None:
    """Of all groups, each its share of `rate`; in place where it is a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate * group["share"])
        else:
            group["lr"] = rate * group["share"]


class PriorDecay:
    """Decay toward the first weights, before each step of the optimizer: p -= rate * strength * (p - start).

    For weight matrices and embeddings, the head's included; biases and normalisation weights are left alone, as with
    conventional decay.

    Args:
        optimizer: of `make_optimizer`, before its first step.
        strength: `prior_weight_decay`.

    Paper: Section 7.1, "Pre-trained Weight Decay".
    """

    def __init__(self, optimizer: torch.optim.Optimizer, strength: float) -> None:
        groups = [group for group in optimizer.param_groups if group["decayed"]]
        self.groups = [(group, [p.detach().clone() for p in group["params"]]) for group in groups]
        self.strength = strength

    @torch.no_grad()
    def apply(self) -> None:
        """One step's decay, at the groups' current rates."""
        for group, start in self.groups:
            away = torch._foreach_sub(group["params"], start)
            torch._foreach_mul_(away, group["lr"] * self.strength)
            torch._foreach_sub_(group["params"], away)


def linear_schedule(step: int, total: int, warmup_ratio: float, warmup_steps: int = 0) -> float:
    """Share of the peak rate at `step` (from 0): a linear rise over the warm-up, then a linear fall to 0.

    The warm-up is `warmup_ratio` of the steps, or `warmup_steps` where that is not 0.

    Paper: Section 3, "Experimental Setup".
    """
    warmup = warmup_steps or int(total * warmup_ratio)
    if step < warmup:
        return step / warmup
    return max(0.0, (total - step) / max(1, total - warmup))

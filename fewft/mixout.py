"""Mixout: in each step, random columns of every weight matrix are swapped for what they were at the start."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mix(weight: Tensor, start: Tensor, kept: Tensor, prob: float) -> Tensor:
    """The weight of one step, whose expectation over masks is `weight`.

    Args:
        weight: float (outputs, inputs).
        start: what it was before the first step, of the same shape.
        kept: 1 where an input column keeps its weights, else 0: float (inputs,), one mask for all outputs.
        prob: of a 0.

    Paper: Section 7.1, "Mixout"; the gradient is that of this formula (deviations, "Mixout's gradient").
    """
    return (kept * weight + (1 - kept) * start - prob * start) / (1 - prob)


class MixLinear(nn.Linear):
    """A Linear layer, its parameters kept, that trains with mixed weights."""

    def __init__(self, linear: nn.Linear, prob: float) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        self.weight, self.bias, self.prob = linear.weight, linear.bias, prob
        self.register_buffer("start", linear.weight.detach().clone(), persistent=False)
        self.register_buffer("kept", torch.ones_like(linear.weight[0].detach()), persistent=False)  # (inputs,)

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        return F.linear(input, mix(self.weight, self.start, self.kept, self.prob), self.bias)


def use_mixout(model: nn.Module, prob: float) -> list[MixLinear]:
    """Let every Linear layer, pooler and head included, be a MixLinear, and set every dropout rate to 0.

    Args:
        model: changed in place; its weights at this moment are what mixout goes back to.
        prob: of a column's going back; 0 leaves the model as it is.

    Paper: Section 7.1, "Mixout".
    """
    if not prob:
        return []
    found = []
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                found.append(MixLinear(child, prob))
                setattr(parent, name, found[-1])
        for name, value in vars(parent).items():  # nn.Dropout's rate, and rates that a module hands to a function
            if isinstance(value, float) and ("drop" in name or (name == "p" and isinstance(parent, nn.Dropout))):
                setattr(parent, name, 0.0)
    for name, value in model.config.to_dict().items():
        if "drop" in name and isinstance(value, float):
            setattr(model.config, name, 0.0)
    return found


@torch.no_grad()
def draw_masks(layers: Sequence[MixLinear]) -> None:
    """New masks for a step, from torch's global stream: once a step, however many pieces its batch has."""
    for layer in layers:
        layer.kept.bernoulli_(1 - layer.prob)

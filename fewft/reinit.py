"""Re-init: the pooler and the top blocks start from random weights instead of pre-trained ones."""

import torch
from torch import nn

from fewft.config import UsageError

RAW = {  # modules with parameters of their own: what the released code (XLNet) or their own class starts them from
    "XLNetRelativeAttention": "normal",
    "DisentangledSelfAttention": "zeros",
}


@torch.no_grad()
def draw_anew(module: nn.Module, spread: float, stream: torch.Generator) -> None:
    """Draw every parameter of a module as BERT's pre-training did before its first step.

    Weights of Linear and Embedding from N(0, spread^2), their biases 0; normalisation layers to weight 1, bias 0;
    XLNet's own tensors q, k, v, o, r, seg_embed and its three biases from N(0, spread^2).

    Args:
        module: changed in place.
        spread: standard deviation, the model's `initializer_range`.
        stream: where the random numbers come from.

    Raises:
        UsageError: a part with parameters of which no start is known.

    Paper: Section 5.
    """
    for part in module.modules():
        kind = type(part).__name__
        own = dict(part.named_parameters(recurse=False))
        known = isinstance(part, nn.Linear | nn.Embedding) or "Norm" in kind or kind in RAW
        if own and not known:
            accepted = "Linear, Embedding, normalisation layers, " + ", ".join(RAW)
            raise UsageError(f"reinit_layers: no start is known for {kind} ({', '.join(own)}); accepted: {accepted}")
        for name, parameter in own.items():
            if "Norm" in kind:
                parameter.fill_(0.0 if name == "bias" else 1.0)
            elif RAW.get(kind) == "zeros" or name == "bias":
                parameter.zero_()
            else:
                parameter.normal_(0.0, spread, generator=stream)


def reinitialize(
    layers: int, pooler: nn.Module | None, blocks: nn.ModuleList, spread: float, stream: torch.Generator
) -> None:
    """Draw the pooler and the top blocks anew, from the top down, so that a larger L draws what a smaller one does.

    Args:
        layers: L, blocks from the top; 0: the pooler only; -1: nothing.
        pooler: where the model has one.
        blocks: bottom first.
        spread: standard deviation.
        stream: where the random numbers come from; untouched with -1.

    Paper: Section 5, Figure 5.
    """
    if layers < 0:
        return
    for module in (pooler, *reversed(blocks[len(blocks) - layers :])):
        if module is not None:
            draw_anew(module, spread, stream)

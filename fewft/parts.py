"""The parts of a model: blocks, pooler, head, depths; the one place that knows how families name them."""

from torch import nn

from fewft.config import UsageError


def encoder_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The stack of Transformer blocks, bottom first, with the name of the module that runs it; BART's: its decoder.

    Raises:
        UsageError: the model has no such stack, or several.
    """
    return _stacks(model)[-1]


def _stacks(model: nn.Module) -> list[tuple[str, nn.ModuleList]]:
    """The encoder's blocks; of an encoder-decoder model, also the decoder's, last."""
    named = list(model.base_model.named_modules())
    lists = [(name, m) for name, m in named if isinstance(m, nn.ModuleList) and _of_blocks(m)]
    outer = [(n, m) for n, m in lists if not any(n.startswith(other + ".") for other, _ in lists)]
    wanted = 2 if getattr(model.config, "is_encoder_decoder", False) else 1
    if len(outer) != wanted:
        found = ", ".join(name for name, _ in outer) or "none"
        accepted = "one list of Transformer blocks of one class below the encoder (one each in encoder and decoder)"
        raise UsageError(f"model: {type(model).__name__} has these lists of blocks: {found}; accepted: {accepted}")
    return [(name.rpartition(".")[0], m) for name, m in outer]


def _of_blocks(modules: nn.ModuleList) -> bool:
    one_class = len({type(m) for m in modules}) == 1
    composed = all(next(m.children(), None) is not None and not isinstance(m, nn.ModuleList) for m in modules)
    return one_class and composed and any(p.ndim >= 2 for p in modules.parameters())


def all_blocks(model: nn.Module) -> list[nn.Module]:
    """Every Transformer block, bottom first; BART's encoder's before its decoder's."""
    return [block for _, stack in _stacks(model) for block in stack]


def pooler(model: nn.Module) -> nn.Module | None:
    """What pre-training put between the last block and its own head, where it left something there.

    BERT's and ALBERT's pooler, ModernBERT's prediction head. Where a family's pooler starts at random in every
    fine-tuning (DeBERTa, XLNet, ELECTRA, RoBERTa), or the checkpoint lacks it, it counts as part of the head.

    Paper: Section 5.
    """
    if getattr(model, "lacks_pooler", False):
        return None
    found = getattr(model.base_model, "pooler", None)
    return found if found is not None or model.config.model_type != "modernbert" else model.head


def head(model: nn.Module) -> list[nn.Module]:
    """The modules that start at random in every fine-tuning."""
    pretrained = (model.base_model, pooler(model))
    modules = [child for child in model.children() if all(child is not other for other in pretrained)]
    new = getattr(model.base_model, "pooler", None) if getattr(model, "lacks_pooler", False) else None
    return modules if new is None else [*modules, new]


def depths(model: nn.Module) -> dict[str, int]:
    """How far below the head each parameter is, by name: head and pooler 0, top block 1, embeddings one more than blocks.

    A norm behind the last block counts as the head; all else outside the blocks as the embeddings.

    Paper: Section 7.1, "Layer-wise Learning Rate Decay".
    """
    blocks, base = all_blocks(model), model.base_model
    at = {id(p): len(blocks) - i for i, block in enumerate(blocks) for p in block.parameters()}
    top = [*head(model), pooler(model), getattr(base, "final_norm", None)]
    at |= {id(p): 0 for module in top if module is not None for p in module.parameters()}
    return {name: at.get(id(p), len(blocks) + 1) for name, p in model.named_parameters()}


def first_position(model: nn.Module) -> int:
    """RoBERTa and its kin count positions from behind their padding id."""
    positions = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    padding = getattr(positions, "padding_idx", None)
    return 0 if padding is None else padding + 1

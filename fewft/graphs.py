"""One training step on a GPU as one CUDA graph per row length: hardly a launch, and nothing waits for the host."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from fewft.batching import Encoded
from fewft.config import RunConfig
from fewft.mixout import MixLinear, draw_masks
from fewft.optim import PriorDecay, set_learning_rate
from fewft.varlen import Offsets


def bucket_size(tokens: int) -> int:
    """The row length for so many tokens: eight to a doubling, multiples of 32, so an eighth or 31 tokens too long."""
    width = max(32, (1 << tokens.bit_length()) >> 4)
    return -(-tokens // width) * width


def static_arrays(
    data: Encoded, batch: np.ndarray, *, bucket: int, batch_size: int, longest: int, first_position: int
) -> dict[str, np.ndarray]:
    """All that a step reads, in arrays whose lengths depend on the bucket alone.

    Args:
        data: the tokenised split.
        batch: its examples, at most `batch_size`.
        bucket: length of the row, too long for the batch by at most an eighth of it or 32 tokens.
        batch_size, longest: examples in a full batch, tokens in the longest sequence.
        first_position: position id of a sequence's first token.

    Returns:
        int64, or float64 (labels of regression; weight: 1 / examples, 0 for those that a short batch lacks).
    """
    lengths = np.array([len(data.input_ids[i]) for i in batch])
    ends = np.cumsum(lengths)
    used, starts = ends[-1], ends - lengths
    rows = {"input_ids": data.input_ids, "token_type_ids": data.token_type_ids}
    parts = {k: (bucket, np.concatenate([row[i] for i in batch])) for k, row in rows.items() if row is not None}
    parts["position_ids"] = (bucket, np.arange(used) - np.repeat(starts, lengths) + first_position)
    parts["first"] = (batch_size, starts)
    parts["labels"] = (batch_size, data.labels[torch.as_tensor(batch)].numpy())
    parts["weight"] = (batch_size, np.full(len(batch), 1 / len(batch)))
    arrays = {}
    for name, (size, values) in parts.items():
        arrays[name] = np.zeros(size, np.float64 if values.dtype.kind == "f" else np.int64)
        arrays[name][: len(values)] = values
    fillers = -(-max(32, bucket // 8) // longest)  # sequences that the padding may need, none longer than the longest
    known = np.concatenate([[0], ends, np.arange(used + longest, bucket, longest)])
    arrays["offsets"] = np.full(batch_size + fillers + 1, bucket)
    arrays["offsets"][: len(known)] = known
    return arrays


class StaticRow:
    """The memory of one bucket, filled anew for each batch by a single copy, and the graph that reads it."""

    def __init__(self, arrays: dict[str, np.ndarray], device: torch.device) -> None:
        sizes = [len(x) for x in arrays.values()]
        self.memory = torch.zeros(sum(sizes), dtype=torch.int64, device=device)
        types = [torch.from_numpy(x).dtype for x in arrays.values()]
        parts = [part.view(dtype) for part, dtype in zip(self.memory.split(sizes), types, strict=True)]
        self.parts = dict(zip(arrays, parts, strict=True))
        self.seen = False
        self.graph: torch.cuda.CUDAGraph | None = None

    def fill(self, arrays: dict[str, np.ndarray]) -> None:
        """Copy without waiting; torch gives out pinned memory again only when no copy reads it any more."""
        host = torch.empty(len(self.memory), dtype=torch.int64, pin_memory=self.memory.is_cuda)
        np.concatenate([x.view(np.int64) for x in arrays.values()], out=host.numpy())
        self.memory.copy_(host, non_blocking=True)


class GraphStep:
    """Forward, backward, clipping, AdamW, learning rate, and history of losses and gradient norms of one step.

    The first batch of each bucket is trained on eagerly, so that nothing starts under capture; at the second the step
    is captured, which executes nothing, and then replayed, as ever after. So one call is one step.

    Args:
        model, optimizer, scaler, config, data: of the run; `data` is the training set.
        first_position: position id of a sequence's first token.
        schedule, losses, norms: float32 (steps,) on the device: the learning rates, where the losses go, and where
            the norms of all gradients together, before clipping.
        example_losses: of logits (examples, outputs) and labels (examples,), a loss for each example.
        dtype: of mixed precision, or None.
        mixed, prior: of mixout and prior weight decay, where the run has them.
        capture: False runs every step eagerly.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, config: RunConfig,
        data: Encoded, *, first_position: int, schedule: Tensor, losses: Tensor, norms: Tensor,
        example_losses: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype | None, capture: bool,
        mixed: Sequence[MixLinear] = (), prior: PriorDecay | None = None,
    ) -> None:  # fmt: skip
        self.model, self.optimizer, self.scaler, self.config, self.data = model, optimizer, scaler, config, data
        self.schedule, self.losses, self.norms = schedule, losses, norms
        self.example_losses, self.dtype = example_losses, dtype
        self.mixed, self.prior = mixed, prior
        self.lengths, self.first_position, self.device = data.lengths, first_position, schedule.device
        self.sizes = {"batch_size": config.train_batch_size, "longest": int(self.lengths.max())}
        self.done = torch.zeros(1, dtype=torch.int64, device=self.device)
        for group in optimizer.param_groups:
            group["lr"] = torch.zeros((), device=self.device)
        self.rows: dict[int, StaticRow] = {}
        self.stream = torch.cuda.Stream(self.device) if capture else None
        self.pool = torch.cuda.graph_pool_handle() if capture else None  # shared: no graph leaves anything in it

    def step(self, batch: np.ndarray) -> int:
        """Train on the examples `batch`; returns how many tokens they have."""
        tokens = int(self.lengths[batch].sum())
        bucket = bucket_size(tokens)
        arrays = static_arrays(self.data, batch, bucket=bucket, first_position=self.first_position, **self.sizes)
        if bucket not in self.rows:
            self.rows[bucket] = StaticRow(arrays, self.device)
        row = self.rows[bucket]
        row.fill(arrays)
        if self.stream is None:
            self.body(row)
        elif row.seen:
            self.replay(row)
        else:
            row.seen, here = True, torch.cuda.current_stream(self.device)
            self.stream.wait_stream(here)
            with torch.cuda.stream(self.stream):
                self.body(row)
            here.wait_stream(self.stream)
        return tokens

    def replay(self, row: StaticRow) -> None:
        """The row's graph, captured if there is none yet."""
        if row.graph is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
                self.body(row)
            row.graph = graph
        row.graph.replay()

    def body(self, row: StaticRow) -> None:
        """The step on what is in `row`; keeps none of its tensors, so that graphs can share their memory."""
        self.model.train()
        draw_masks(self.mixed)
        inputs = {k: v.unsqueeze(0) for k, v in row.parts.items() if k.endswith("_ids")}
        layout = Offsets(row.parts["offsets"].int(), row.parts["first"], self.sizes["longest"])
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None):
            logits = self.model(**inputs, layout=layout).logits.float()
        labels = row.parts["labels"]
        each = self.example_losses(logits, labels.float() if labels.is_floating_point() else labels)
        loss = (each * row.parts["weight"].float()).sum()
        self.scaler.scale(loss).backward()
        self.losses.index_copy_(0, self.done, loss.detach().unsqueeze(0))
        set_learning_rate(self.optimizer, self.schedule.index_select(0, self.done).squeeze(0))
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
        self.norms.index_copy_(0, self.done, norm.unsqueeze(0))
        self.done += 1
        if self.prior:
            self.prior.apply()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

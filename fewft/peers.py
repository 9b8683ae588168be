"""What a measuring process of `fewft bench` does: our steps and transformers.Trainer's in turn, or whole runs."""

import gc
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import DataCollatorWithPadding, TrainerCallback, TrainingArguments, default_data_collator

from fewft import models, sweep, tasks, train
from fewft.config import RunConfig, UsageError
from fewft.environment import environment, pick_device
from fewft.metrics import score
from fewft.results import ResultStore

Batches = Sequence[np.ndarray]


def measure_steps(
    config: dict[str, Any], device: str, peers: Sequence[str], repeats: int, steps: int
) -> dict[str, Any]:
    """Our steps, `torch.mm`, and Trainer's steps in alternation, after a warm-up turn.

    Args:
        config: of our run, as `RunConfig.to_dict` gives it.
        device: as for `fine_tune`.
        peers: some of bench.PEERS.
        repeats: turns that count.
        steps: optimizer steps a turn.

    Returns:
        `cost`: by contestant, for each turn, wall and CPU seconds and real tokens; and what goes into the row as it is.
    """
    run, where = RunConfig.from_dict(config), pick_device(device)
    trainer = train.prepare(replace(run, max_steps=(repeats + 1) * steps), device=device)
    lengths = trainer.sets["train"].lengths
    if len(lengths) < run.train_batch_size:
        raise UsageError(f"task: {run.task!r} has {len(lengths)} examples; accepted: {run.train_batch_size} or more")
    full = (b for b in train.batches(len(lengths), run) if len(b) == run.train_batch_size)
    weights = [w.detach().to(where, train.DTYPES.get(run.precision)) for w in linear_weights(run)]

    def ours(chunk: Batches) -> list[float]:
        begun = now(where)
        for batch in chunk:
            trainer.step(batch)
        return [*(now(where) - begun), float(lengths[np.concatenate(chunk)].sum())]

    contestants = {"ours": ours, "mm": lambda chunk: multiply(weights, [int(lengths[b].sum()) for b in chunk])}
    with tempfile.TemporaryDirectory() as folder:
        contestants |= {name: Peer(run, name, where, folder, turns=repeats + 1, steps=steps) for name in peers}
        cost: dict[str, list[list[float]]] = {name: [] for name in contestants}
        for turn in range(repeats + 1):
            chunk, first = list(islice(full, steps)), turn % len(cost)
            for name in [*cost, *cost][first : first + len(cost)]:
                gc.collect()
                cost[name].append(contestants[name](chunk))
    return {
        "clock": "wall" if where.type == "cuda" else "cpu", "packed": trainer.result.packed, "steps": steps,
        "block_weights": sum(w.numel() for w in weights), "environment": environment(where),
        "cost": {name: turns[1:] for name, turns in cost.items()},
    }  # fmt: skip


def now(device: torch.device) -> np.ndarray:
    """Wall and CPU seconds, when the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return np.array([time.perf_counter(), time.process_time()])


def linear_weights(config: RunConfig) -> list[Tensor]:
    """The matrices of the encoder's blocks, float (out, in)."""
    return [p for p in models.encoder_blocks(_template(config).model)[1].parameters() if p.ndim == 2]


def multiply(weights: Sequence[Tensor], tokens: Sequence[int]) -> list[float]:
    """`torch.mm` alone: each matrix forward, input gradient and own gradient, for batches of that many tokens.

    Returns:
        wall and CPU seconds, and tokens; this was 6 * elements * tokens operations.
    """
    total, device = np.zeros(2), weights[0].device
    for count in tokens:
        rows, outs = ({n: w.new_ones(count, n).normal_() for w in weights for n in w.shape} for _ in range(2))
        grads = {w.shape: torch.empty_like(w) for w in weights}
        begun = now(device)
        for w in weights:
            high, low = w.shape
            torch.mm(rows[low], w.t(), out=outs[high])
            torch.mm(rows[high], w, out=outs[low])
            torch.mm(rows[high].t(), rows[low], out=grads[w.shape])
        total += now(device) - begun
    return [*total, float(sum(tokens))]


class Peer(TrainerCallback):
    """transformers.Trainer on given batches: loop, loading, collating, clipping, AdamW and schedule are its own.

    Args:
        config: the run.
        name: one of bench.PEERS.
        device: where.
        folder: for its files.
        turns: calls to come.
        steps: batches of each.
    """

    def __init__(self, config: RunConfig, name: str, device: torch.device, folder: str, *, turns: int, steps: int):
        from accelerate.state import AcceleratorState

        self.device, self.own, self.state = device, None, AcceleratorState._shared_state
        self.trainer = peer_trainer(config, name, device, {"output_dir": folder, "max_steps": steps})
        self.trainer.add_callback(self)
        self.kept = dict(self.state)
        self.tokens = np.array([sum(row["attention_mask"]) for row in self.trainer.train_dataset])
        if name.startswith("grouped"):  # its own sampler's batches, evenly from short to long, both in every turn
            size, order = config.train_batch_size, np.array(list(self.trainer._get_train_sampler()))
            batches = order[: len(order) // size * size].reshape(-1, size)
            batches = batches[self.tokens[batches].sum(1).argsort(kind="stable")]
            places = np.arange(turns * steps) * len(batches) // (turns * steps)
            self.own = cycle([batches[places[turn::turns]] for turn in range(turns)])

    def __call__(self, batches: Batches) -> list[float]:
        order = np.concatenate(next(self.own) if self.own else batches)
        self.trainer._get_train_sampler = lambda _=None: order.tolist()
        self.state.update(self.kept)  # one for the process: another peer's may say bf16 or compile
        self.trainer.train()
        return [*self.cost, float(self.tokens[order].sum())]

    def on_step_begin(self, args: object, state: transformers.TrainerState, *_: object, **__: object) -> None:
        """Start the clock, with the first batch there."""
        if state.global_step == 0:
            self.begun = now(self.device)

    def on_step_end(self, args: object, state: transformers.TrainerState, *_: object, **__: object) -> None:
        """Stop it after the last step."""
        if state.global_step == state.max_steps:
            self.cost = now(self.device) - self.begun


def peer_trainer(config: RunConfig, name: str, device: torch.device, settings: dict[str, Any]) -> transformers.Trainer:
    """A Trainer as run_glue makes it, with our weights, examples and settings, and more of TrainingArguments."""
    kind, *options = name.split("-")
    template = _template(config)
    padded, grouped, cuda = kind == "padded", kind == "grouped", device.type == "cuda"
    arguments = TrainingArguments(
        per_device_train_batch_size=config.train_batch_size, num_train_epochs=config.num_train_epochs,
        learning_rate=config.learning_rate, warmup_steps=config.warmup_ratio, max_grad_norm=config.max_grad_norm,
        weight_decay=config.weight_decay, seed=config.data_seed, use_cpu=not cuda, dataloader_pin_memory=cuda,
        bf16="bf16" in options, torch_compile="compile" in options, report_to="none", disable_tqdm=True,
        train_sampling_strategy="group_by_length" if grouped else "random", logging_strategy="no",
        **{"save_strategy": "no", **settings},
    )  # fmt: skip
    trainer = transformers.Trainer(
        template.model, arguments, train_dataset=peer_rows(config, "train", padded),
        eval_dataset=peer_rows(config, "validation", padded), processing_class=template.tokenizer,
        data_collator=default_data_collator if padded else DataCollatorWithPadding(template.tokenizer),
    )  # fmt: skip
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def peer_rows(config: RunConfig, part: str, padded: bool) -> list[dict[str, Any]]:
    """The examples of a split as run_glue's preprocessing leaves them, padded to max_seq_length or not."""
    split = getattr(tasks.load(config.task), part)
    columns = _template(config).tokenizer(
        list(split.text_a), None if split.text_b is None else list(split.text_b), truncation=True, verbose=False,
        max_length=config.max_seq_length, padding="max_length" if padded else False,
    )  # fmt: skip
    columns = {**columns, "labels": split.labels.tolist()}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _template(config: RunConfig) -> models.Encoder:
    return models.pretrained(config.model, config.num_hidden_layers, tasks.load(config.task).num_labels)


# --- whole runs -------------------------------------------------------------------------------------------------------


def run_sweep(config: dict[str, Any], workers: int, device: str) -> dict[str, Any]:
    """Whole runs as our user does them, two a worker."""
    configs = [RunConfig.from_dict({**config, "init_seed": i, "data_seed": i}) for i in range(2 * workers)]
    with tempfile.TemporaryDirectory() as folder:
        done = sweep.sweep(configs, ResultStore(folder, "bench"), workers=workers, device=device)
        scores = [record["test_best"] for record in ResultStore(folder, "bench").records().values()]
    if any(d.status == "failed" for d in done):
        raise sweep.SweepError(f"bench: {next(d.reason for d in done if d.status == 'failed')}")
    return {"runs": len(done), "test": scores, "environment": environment(pick_device(device))}


def run_trainer(config: dict[str, Any], device: str) -> dict[str, Any]:
    """One whole run of run_glue with the paper's protocol: evaluations, then the test score of the best checkpoint."""
    run = RunConfig.from_dict(config)
    data, name = tasks.load(run.task), "padded-bf16" if run.precision == "bf16" else "padded"
    every = max(1, run.num_steps(len(data.train)) // run.num_evals)
    with tempfile.TemporaryDirectory() as folder:
        settings = {"output_dir": folder, "load_best_model_at_end": True, "metric_for_best_model": "score"}
        settings |= {"eval_strategy": "steps", "eval_steps": every}
        settings |= {"save_strategy": "steps", "save_steps": every, "save_total_limit": 1, "save_only_model": True}
        trainer = peer_trainer(run, name, pick_device(device), settings)
        trainer.compute_metrics = lambda out: {"score": _number(score(data.selection, out.predictions, out.label_ids))}
        trainer.train()
        out = trainer.predict(peer_rows(run, "test", padded=True))
    return {"runs": 1, "test": [_number(score(data.metric, out.predictions, out.label_ids))]}


def _number(value: float) -> float:
    return float(np.nan_to_num(value))  # one class only has no correlation

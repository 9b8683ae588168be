"""What a process of `fewft bench` does: steps of ours, torch.mm's and transformers.Trainer's in turn, or whole runs."""

import gc
import tempfile
import time
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, default_data_collator

from fewft import models, parts, sources, sweep, tasks, train
from fewft.config import RunConfig
from fewft.environment import pick_device
from fewft.metrics import score
from fewft.results import ResultStore
from fewft.trainer import DTYPES


def measure_steps(config: RunConfig, device: str, peers: list[str], repeats: int, steps: int) -> dict[str, Any]:
    """Fields of a row; `raw` is by contestant and turn: wall and CPU seconds, and real tokens."""
    trainer = train.prepare(replace(config, max_steps=(repeats + 1) * steps), device=device)
    lengths, dtype = trainer.sets["train"].lengths, DTYPES.get(config.precision, torch.float32)
    order, cuda = np.random.default_rng(config.data_seed).permutation(len(lengths)), trainer.device.type == "cuda"
    turns = np.resize(order, (repeats + 1, steps, config.train_batch_size))  # from the start when all were there
    weights = [p.detach().to(dtype) for p in parts.encoder_blocks(trainer.model)[1].parameters() if p.ndim == 2]
    rows = {n: torch.randn(int(lengths[turns].sum(-1).max()), n).to(w) for w in weights for n in w.shape}
    space = torch.empty_like(max([*rows.values(), *weights], key=torch.numel)).flatten()  # what is multiplied goes here
    plain = {"ours": trainer.step, "mm": lambda batch: multiply(weights, rows, space, int(lengths[batch].sum()))}
    made = {name: Peer(config, name, cuda, {"max_steps": steps}) for name in peers}

    def measure(name: str, batches: np.ndarray) -> list[float]:
        gc.collect()  # what the one before left
        if name in made:
            return made[name](batches)
        begun = now()
        for batch in batches:
            plain[name](batch)
        return [*(now() - begun), float(lengths[batches].sum())]

    cost: dict[str, list[list[float]]] = {name: [] for name in [*plain, *made]}
    for turn, batches in enumerate(turns):
        for name in np.roll([*cost], -turn):
            cost[name].append(measure(name, batches))
    found = {name: getattr(trainer.result, name) for name in ("packed", "captured", "environment")}
    found |= {"clock": "wall" if cuda else "cpu", "steps": steps, "block_weights": sum(w.numel() for w in weights)}
    return {**found, "raw": {name: values[1:] for name, values in cost.items()}}  # the first turn warms up


def now() -> np.ndarray:
    """Wall and CPU seconds, when the device has done what it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return np.array([time.perf_counter(), time.process_time()])


def multiply(weights: list[torch.Tensor], rows: dict[int, torch.Tensor], space: torch.Tensor, tokens: int) -> None:
    """Each matrix forward, for its input's gradient and for its own: 6 * elements * tokens operations."""
    for weight in weights:
        high, low = (rows[n][:tokens] for n in weight.shape)
        for left, right in ((low, weight.t()), (high, weight), (high.t(), low)):
            torch.mm(left, right, out=space[: len(left) * right.shape[1]].view(len(left), -1))


class Peer(Trainer, TrainerCallback):
    """A Trainer as run_glue makes it, with our weights, examples and settings; calling it times steps on batches."""

    def __init__(self, config: RunConfig, name: str, cuda: bool, settings: dict[str, Any]) -> None:
        kind, *options = name.split("-")
        loaded = models.pretrained(config.model, config.num_hidden_layers, tasks.load(config.task).num_labels)
        arguments = TrainingArguments(  # on a GPU without the filter of losses, which waits for it at every step
            per_device_train_batch_size=config.train_batch_size, learning_rate=config.learning_rate, report_to="none",
            num_train_epochs=config.num_train_epochs, warmup_steps=config.warmup_ratio, seed=config.data_seed,
            use_cpu=not cuda, dataloader_pin_memory=cuda, bf16="bf16" in options, torch_compile="compile" in options,
            train_sampling_strategy="group_by_length" if kind == "grouped" else "random", disable_tqdm=True,
            logging_nan_inf_filter=not cuda, **{"save_strategy": "no", "output_dir": tempfile.gettempdir(), **settings},
        )  # fmt: skip
        examples = (peer_rows(config, part, kind == "padded") for part in ("train", "validation"))
        collator = default_data_collator if kind == "padded" else None  # None: pads to a batch's longest
        super().__init__(loaded.model, arguments, collator, *examples, loaded.tokenizer, callbacks=[self])
        self.remove_callback(PrinterCallback)
        self.times, self.kept = [], dict(vars(self.accelerator.state))
        own = torch.utils.data.BatchSampler(self._get_train_sampler(), config.train_batch_size, drop_last=True)
        self.own = cycle(np.random.default_rng(config.data_seed).permutation([*own])) if kind == "grouped" else None

    def __call__(self, batches: np.ndarray) -> list[float]:
        """Seconds of steps on the batches, or on as many of its own first epoch in random order, and their tokens."""
        order = np.ravel([*islice(self.own, len(batches))] if self.own else batches).tolist()
        self._get_train_sampler = lambda _=None: order
        vars(self.accelerator.state).update(self.kept)  # one for the process: another peer's may say bf16 or compile
        self.train()
        return [*(self.times[-1] - self.times[-2]), sum(sum(self.train_dataset[i]["attention_mask"]) for i in order)]

    def on_step_end(self, *_: object, **__: object) -> None:  # and on_step_begin, with its batch there
        if self.state.global_step in (0, self.state.max_steps):
            self.times.append(now())

    on_step_begin = on_step_end


def peer_rows(config: RunConfig, part: str, padded: bool) -> list[dict[str, Any]]:
    """The examples of a split as run_glue's preprocessing leaves them, padded to max_seq_length or not."""
    tokenizer, split = sources.load_tokenizer(config.model), getattr(tasks.load(config.task), part)
    texts = [list(side) for side in (split.text_a, split.text_b) if side is not None]
    columns = tokenizer(*texts, truncation=True, max_length=config.max_seq_length, padding=padded and "max_length")
    columns["labels"] = split.labels.tolist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def run_sweep(config: RunConfig, device: str, workers: int) -> dict[str, Any]:
    """Whole runs as our user does them, five seeds a worker; those that did not end well do not count."""
    configs = [replace(config, init_seed=i, data_seed=i) for i in range(5 * workers)]
    with tempfile.TemporaryDirectory() as folder:
        sweep.sweep(configs, store := ResultStore(folder, "bench"), workers=workers, device=device)
        scores = [record["test_best"] for record in store.records().values() if record["status"] == "ok"]
    return {"runs": len(scores), "test": scores}


def run_trainer(config: RunConfig, device: str) -> dict[str, Any]:
    """One whole run of run_glue with the paper's protocol: evaluations, then the test score of the best checkpoint."""
    data, name = tasks.load(config.task), "padded-bf16" if config.precision == "bf16" else "padded"
    every = max(1, config.num_steps(len(data.train)) // config.num_evals)
    more = dict(eval_strategy="steps", eval_steps=every, save_strategy="steps", save_steps=every, save_total_limit=1)
    more |= dict(save_only_model=True, load_best_model_at_end=True, metric_for_best_model="score")
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(config, name, pick_device(device).type == "cuda", {**more, "output_dir": folder})
        peer.compute_metrics = lambda out: {"score": float(np.nan_to_num(score(data.selection, *out)))}
        peer.train()
        out = peer.predict(peer_rows(config, "test", padded=True))
    return {"runs": 1, "test": [score(data.metric, out.predictions, out.label_ids)]}

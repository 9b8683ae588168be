"""Many runs on worker processes of one thread each, or on Ray; what is stored is not done again."""

import re
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from fewft.config import RunConfig, UsageError, check_choice
from fewft.results import ResultStore
from fewft.schedule import Done, Executor, Schedule, need, report
from fewft.worker import cores

if TYPE_CHECKING:
    import torch

EXECUTORS = ("local", "ray")


def sweep(
    configs: Sequence[RunConfig], store: ResultStore, *, workers: int = 0, device: str = "auto",
    executor: str = "local", address: str = "", gpus: float = 0.0,
) -> list[Done]:  # fmt: skip
    """Do the runs that are not in the store yet, and the intermediate runs that these need.

    Args:
        configs: the runs wanted, the longest done first; several with the same id count once.
        store: where finished runs are, and go.
        workers: runs at once; 0: one per core that this process may use, on a GPU one; on Ray what the nodes hold.
        device: as for `fine_tune`; on Ray without an index.
        executor: local (processes of one thread each) or ray.
        address: of a running Ray; empty: one of our own, on this machine.
        gpus: on Ray, those that a run takes; a part of 1 where several share one.

    Raises:
        UsageError: a wrong argument, or a wrong task, model or device in any of the runs, before the first one starts.
        OSError: the store cannot be written to.
        SweepError: Ray cannot go on.
    """
    check_choice("executor", executor, EXECUTORS)
    for name, value in (("workers", workers), ("gpus", gpus)):
        if value < 0:
            raise UsageError(f"{name}: {value}; accepted: 0 or more")
    if address and executor != "ray":
        raise UsageError(f"address: {address!r} with executor {executor!r}; accepted: only with 'ray'")
    todo = _todo(configs, store)
    if not todo:
        return []
    make = partial(_on_ray, address=address, gpus=gpus) if executor == "ray" else _on_processes
    with closing(make(todo, store, workers, device)) as place:
        store.check_writable()
        return list(report(iter(Schedule(*_in_order(todo), store, place)), len(todo)))


def shard(configs: Sequence[RunConfig], part: str) -> list[RunConfig]:
    """One of n equal parts of the distinct runs, whatever is stored of them; each round is dealt from the next part on.

    Args:
        configs: all runs wanted, the same and in the same order for every part.
        part: "i/n", the first part being 1; empty: all.

    Raises:
        UsageError: another `part`.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", part or "1/1", re.ASCII)
    i, n = map(int, found.groups()) if found else (0, 0)
    if not 1 <= i <= n:
        raise UsageError(f"shard: {part!r}; accepted: i/n with whole numbers, 1 <= i <= n")
    distinct = {c.run_id: c for c in configs}.values()
    return [c for position, c in enumerate(distinct) if (position + position // n) % n == i - 1]


def preflight(configs: Sequence[RunConfig], device: str) -> "torch.device":
    """Load every task and model once, intermediate ones too, so that a wrong one is refused now; the device meant.

    Raises:
        UsageError: as `fine_tune`.
    """
    from fewft import models, tasks
    from fewft.environment import pick_device

    where = pick_device(device)
    configs = [*configs, *filter(None, map(RunConfig.intermediate, configs))]
    for task, data in dict.fromkeys((c.task, c.data) for c in configs):
        tasks.load(task, data)
    for model, blocks in dict.fromkeys((c.model, c.num_hidden_layers) for c in configs):
        most = max(c.reinit_layers for c in configs if (c.model, c.num_hidden_layers) == (model, blocks))
        models.load(RunConfig(task="rte", model=model, num_hidden_layers=blocks, reinit_layers=most), 2)
    return where


def _work_of(config: RunConfig) -> float:
    """About the FLOPs of a run: two a weight of the blocks and token, a token being four characters; trained ones thrice."""
    from fewft import costs, tasks

    data = tasks.load(config.task, config.data)
    texts = [*data.validation.text_a, *(data.validation.text_b or ())]
    examples = 3 * config.num_steps(len(data.train)) * config.train_batch_size
    examples += config.num_evals * len(data.validation) + 2 * len(data.test)
    tokens = examples * sum(map(len, texts)) / len(data.validation) / 4
    return 2 * tokens * costs.shape_of(config).weights


def _todo(configs: Sequence[RunConfig], store: ResultStore) -> list[RunConfig]:
    """The runs that are missing, with the intermediate runs that they need and that are missing or have no encoder."""
    finished = store.finished()
    missing = {c.run_id: c for c in configs if c.run_id not in finished}
    needed = {c.run_id: c for c in map(RunConfig.intermediate, missing.values()) if c}
    if needed:
        from fewft.weights import read_encoder

        needed = {i: c for i, c in needed.items() if i not in finished or read_encoder(i) is None}
    return list({**needed, **missing}.values())


def _in_order(todo: Sequence[RunConfig]) -> tuple[list[RunConfig], list[float]]:
    """Those that others wait for first; then the longest, so that no worker is left with a long run at the end.

    Returns:
        The runs, and the work of each.
    """
    needed, work = set(map(need, todo)), {c.run_id: _work_of(c) for c in todo}
    runs = sorted(todo, key=lambda c: (c.run_id in needed, work[c.run_id]), reverse=True)
    return runs, [work[c.run_id] for c in runs]


# --- executors ----------------------------------------------------------------------------------------------------


def _on_processes(todo: Sequence[RunConfig], store: ResultStore, workers: int, device: str) -> Executor:
    from fewft.processes import Processes

    on_gpu = preflight(todo, device).type == "cuda"
    return Processes(min(workers or (1 if on_gpu else cores()), len(todo)), store, device)


def _on_ray(
    todo: Sequence[RunConfig], store: ResultStore, workers: int, device: str, *, address: str, gpus: float
) -> Executor:
    try:
        from fewft import cluster
    except ImportError as error:
        raise UsageError(f"executor: 'ray' needs Ray ({error}); accepted: pip install 'fewft[cluster]'") from error
    device = cluster.pick_device(device, gpus, address)
    preflight(todo, "auto")  # the devices are the nodes'
    return cluster.RayCluster(store, device, slots=workers or len(todo), address=address, gpus=gpus)

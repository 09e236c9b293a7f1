"""Searches in the space of a setting, to be ranked against its table."""

import json
import time
from contextlib import redirect_stdout
from pathlib import Path

import pandas as pd
import torch

from .. import presets, rules, runtime
from ..search import Search
from ..supernet import SuperNet
from .settings import canonical, code

CONFIG = {  # one α step a weight step, and the whole search for the price of a few trainings
    "digits": dict(epochs=12, warmup_epochs=4, alpha_every=1, alpha_lr=0.05),
    "cifar10": dict(epochs=6, warmup_epochs=2, alpha_every=1, alpha_lr=0.02),
}
REINFORCE = 0.01 / 0.006  # §4.1: the learning rate of α for REINFORCE, over that for the gradient rule


def search(setting, rule, seed, images=None):
    """(search.Result, SuperNet, seconds of CPU) of one search in a setting, by a rule of rules.BY_NAME, on the CPU.

    `images` are the setting's, loaded if not given. It prints nothing.
    """
    config = dict(CONFIG[setting.name], seed=seed)
    if rule == "reinforce":
        config["alpha_lr"] *= REINFORCE
    torch.manual_seed(seed)
    net, began = SuperNet(setting.space), time.process_time()
    with redirect_stdout(None):
        result = Search(net, images or setting.load(), rules.BY_NAME[rule](), presets.SearchConfig(**config), device="cpu").run()
    return result, net, time.process_time() - began


def sweep(setting, names, seeds, path):
    """Search with every rule and seed; one row a search, written to `path` as it ends: rule, seed, network, seconds."""
    images = setting.load()
    command = f"search {setting.name} --rules {' '.join(names)} --seeds {seeds} --out {Path(path).name}"
    about = {"command": f"python -m proxyless_lite.ground_truth {command}",
             "setting": setting.describe(), "search": CONFIG[setting.name], "digest": images.digest,
             "machine": runtime.describe(), "threads": torch.get_num_threads()}
    with open(path, "w", buffering=1) as file:
        file.write(f"# {json.dumps(about)}\nrule,seed,network,seconds\n")
        for seed in range(seeds):
            for name in names:
                result, _, seconds = search(setting, name, seed, images)
                found = code(setting.space, canonical(result.architecture.choices))
                file.write(f"{name},{seed},{found},{seconds:.2f}\n")
                print(f"{name}, seed {seed}: {found}, {seconds:.1f} s", flush=True)


def random_search(table, rows, counts):
    """Regret to be expected of random search: of k uniform choices of operations, each trained once, keep the best. Exact.

    `table` as `load` gives it, `rows` its runs (the second part of `read`), `counts` the numbers k. A run (network, seed) is
    drawn by the share of choices that give its network, and the k draws are independent, so P(the best has accuracy ≤ a) =
    P(a run has accuracy ≤ a)^k. Its regret is that of the *other* seeds' mean, as the seed that made it win was in part luck.
    Returns a Series: k -> regret. Networks with one run are left out.
    """
    runs = rows.merge(table[["members", "mean", "runs"]], left_on="network", right_index=True).query("runs > 1")
    weight = runs.members / runs.runs
    others = (runs["mean"] * runs.runs - runs.accuracy) / (runs.runs - 1)
    by_accuracy = pd.DataFrame({"weight": weight, "regret": weight * (table["mean"].max() - others)}).groupby(runs.accuracy).sum()
    at_most = by_accuracy.weight.cumsum() / by_accuracy.weight.sum()
    regret = by_accuracy.regret / by_accuracy.weight
    return pd.Series({k: ((at_most ** k).diff().fillna(at_most.iloc[0] ** k) * regret).sum() for k in counts})

"""The rows of cifar10_tree.py, and what they show: do found networks beat random ones of equal cost?"""

import numpy as np
import pandas as pd
from scipy import stats

from proxyless_lite import SearchConfig, TrainConfig, presets, runtime

# accuracy: top-1 on test images; for a search, that of the most probable paths, on validation images with the supernet's weights.
# seconds: wall time, without the test. entropy of α in nats; most_probable: the network with the largest α on every edge.
COLUMNS = {"seed": int, "rule": str, "cost": str, "role": str, "network": str, "macs": int, "params": int, "ms": float, "accuracy": float,
           "loss": float, "seconds": float, "entropy": float, "most_probable": str}
RELEASED = {"params": 5_731_530, "macs": 1_213_155_872}  # of zoo.proxyless_cifar(), as tests/test_architecture.py counts them


class Runs(runtime.Rows):
    """The table while it grows."""

    what, columns = "table of cifar10_tree.py", COLUMNS


def summary(path):
    """The summary as text. Raises ValueError for a file that is not such a table, or has nothing to compare yet."""
    rows = Runs.read(path)
    found = pairs(rows)
    if found.empty:
        raise ValueError(f"{path} holds no found network with a random one of equal cost yet; run the command again to resume")
    return (f"Top-1 test accuracy (%), mean ± sd, of networks found and of random ones of equal cost (n: number of each); their\n"
            f"difference, paired by seed, with its 95 % interval and p (t test); cost of found / target and of random / found; "
            f"entropy of α\n"
            f"{comparison(found, rows.attrs['setting']['target_ms']).to_string(index=False)}\n\n{distance(rows.attrs, rows)}")


def pairs(rows):
    """One row per search, a DataFrame: what the network `found` scores and each of its `randoms`, the latters' mean, their costs."""
    of = {role: own.set_index(["rule", "cost", "seed"]) for role, own in rows.groupby(rows.role.str.rstrip("0123456789"))}
    if not {"search", "found", "random"} <= of.keys():
        return pd.DataFrame()
    price = {role: own.ms.where(own.index.get_level_values("cost") == "ms", own.macs) for role, own in of.items()}
    keys = ["rule", "cost", "seed"]
    return pd.DataFrame({
        "entropy": of["search"].entropy, "found": of["found"].accuracy, "price": price["found"],
        "randoms": of["random"].accuracy.groupby(keys).agg(list), "random": of["random"].accuracy.groupby(keys).mean(),
        "random_price": price["random"].groupby(keys).mean()}).dropna().reset_index()


def comparison(found, target):
    """One line per configuration, and one for all of them together: a DataFrame of text. `target` in ms."""
    lines = [line(own, rule, cost, target if cost == "ms" else np.nan) for (rule, cost), own in found.groupby(["rule", "cost"], sort=False)]
    return pd.DataFrame([*lines, line(found, "all", "", np.nan)]).replace("nan", "–")


def line(own, rule, cost, target):
    randoms, test = np.concatenate(own.randoms.tolist()), difference(own)
    return {"rule": rule, "cost": cost, "found": told(own.found), "random": told(randoms), "n": f"{len(own)}, {len(randoms)}",
            "difference": f"{100 * test['mean']:+.2f} [{100 * test['low']:+.2f}, {100 * test['high']:+.2f}]", "p": f"{test['p']:.2g}",
            "found/target": f"{(own.price / target).mean():.3f}", "random/found": f"{(own.random_price / own.price).mean():.3f}",
            "entropy": f"{own.entropy.mean():.2f}"}


def told(values):
    return f"{100 * np.mean(values):.2f} ± {100 * pd.Series(values).std():.2f}"


def difference(own):
    """Found minus the mean of its random ones: `mean`, 95 % interval from `low` to `high`, `p`; NaN for a single pair."""
    off = own.found - own.random
    if len(off) < 2:
        return {"mean": off.mean(), "low": np.nan, "high": np.nan, "p": np.nan}
    test = stats.ttest_1samp(off, 0)
    low, high = test.confidence_interval()
    return {"mean": off.mean(), "low": low, "high": high, "p": test.pvalue}


def distance(metadata, rows):
    """How far this is from the paper's scale, as text; what it took; and what Table 1's run would take here."""
    ours, paper = scale_here(metadata), scale_of(presets.experiment("paper"), 45_000, 5_000)
    network = rows[rows.role == "found"]
    ours |= {"params of the network found": network.params.mean(), "its MACs": network.macs.mean()}
    paper |= {"params of the network found": RELEASED["params"], "its MACs": RELEASED["macs"]}
    spent = rows.seconds.groupby(rows.role == "search").sum() / 3600
    search, training = hours_of_table_1(metadata, rows)
    return "\n".join([
        "Scale against the paper's (mean here, the paper's, the ratio)",
        *(f"  {name:38}{ours[name]:>14,.0f}{paper[name]:>16,.0f}   1 : {paper[name] / ours[name]:,.0f}" for name in ours),
        f"{len(rows)} runs so far: {spent.get(True, 0):.2f} h of searches, {spent.get(False, 0):.2f} h of trainings; "
        f"each by one worker on {metadata['machine']['device']}",
        f"Table 1's run, extrapolated by images × MACs: {search:,.0f} h of search, {training:,.0f} h of training"])


def scale_of(experiment, train_images, valid_images):
    """Numbers of images that an Experiment processes in a search and in a training: a dict."""
    search, weights = experiment.search, (experiment.search.warmup_epochs + experiment.search.epochs) * train_images
    updates = (search.epochs - search.alpha_delay) * (train_images // search.batch_size) // search.alpha_every
    return {"blocks a stage (B)": experiment.blocks, "width (F)": experiment.width, "images in weight steps of a search": weights,
            "images in updates of α": updates * min(search.alpha_batch_size, valid_images),
            "images in a training": experiment.train.epochs * (train_images + valid_images)}


def scale_here(metadata):
    described = metadata["setting"]["experiment"]
    nested = {"search": SearchConfig(**described["search"]), "train": TrainConfig(**described["train"])}
    return scale_of(presets.Experiment(**described | nested), metadata["train_images"], metadata["valid_images"])


def hours_of_table_1(metadata, rows):
    """Hours of search by the gradient rule and of training, at the seconds that an image and a MAC took in the trainings here.

    Weight, α and training steps each cost about three forward passes, so the factor cancels. The released network stands
    for those that a search samples: its MACs are within 4 % of their mean.
    """
    trainings = rows[rows.role != "search"]
    rate = (trainings.seconds / trainings.macs).mean() / scale_here(metadata)["images in a training"] / 3600
    paper = scale_of(presets.experiment("paper"), 45_000, 5_000)
    searched = paper["images in weight steps of a search"] + paper["images in updates of α"]
    return tuple(rate * RELEASED["macs"] * images for images in (searched, paper["images in a training"]))

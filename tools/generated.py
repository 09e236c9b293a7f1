"""Renew the numbers of README and docs: each block from `<!-- generated: NAME -->` to `<!-- end -->`, from the stored tables.
Run by make numbers. Not called numbers.py: this folder comes first on the path, and NumPy imports the standard library's `numbers`.
"""

import json
import math
import re
import sys
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT / "benchmarks"), str(ROOT / "tools")]

import cifar10_tree_rows
import compared
import search_settings
from runtimes import RUNTIMES, lost, slower

from proxyless_lite import ground_truth

BLOCK = re.compile(r"(<!-- generated: (.*?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def markdown(header, rows):
    """A table of Markdown; a cell that is None becomes a dash."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join('–' if cell is None else str(cell) for cell in line)} |" for line in lines)


def frame(stored, name, **kwargs):
    return pd.read_csv(stored / name, comment="#", **kwargs)


def bench(stored):
    return json.loads((stored / "results" / "bench.json").read_text())


def notebooks(stored):
    """What every notebook takes."""
    seconds = frame(stored, "results/notebook_seconds.csv", index_col="notebook").seconds
    rows = [(f"[{name.replace('_', ' ')}](../notebooks/{name}.ipynb)", duration(each)) for name, each in seconds.items()]
    return markdown(["notebook", "runtime"], rows)


def duration(seconds):
    fives = max(5, 5 * round(seconds / 5))
    return f"{fives} s" if fives < 60 else f"{seconds / 60:.1f} min"


PAPER = {  # label -> source, row and column in results/paper_comparison.csv
    "CIFAR-10, Proxyless-G: params, M": ("Table 1", "Proxyless-G + c/o", "Params"),
    "… test error, %": ("Table 1", "Proxyless-G + c/o", "Test error"),
    "ImageNet, Proxyless (mobile): top-1, %": ("Table 2", "Proxyless-R (mobile)", "Top-1"),
    "… latency on a Pixel 1, ms": ("Table 2", "Proxyless-R (mobile)", "Mobile latency"),
    "… search, GPU-hours": ("Table 2", "Proxyless-R (mobile)", "Search cost"),
    "ImageNet, Proxyless (GPU): top-1, %": ("Table 3", "Proxyless (GPU)", "Top-1"),
    "… latency on a V100, batch 8, ms": ("Table 3", "Proxyless (GPU)", "GPU latency"),
    "MobileNetV2 1.4 / Proxyless (mobile), latency": ("§4.2", "Proxyless (mobile) faster than MobileNetV2 1.4", "Mobile latency"),
    "latency model, RMSE, ms": ("Figure 5", "Latency model", "RMSE")}


def paper(stored):
    """The main numbers of the paper, ours next to them, and where each of ours comes from."""
    found = frame(stored, "results/paper_comparison.csv", dtype=str, keep_default_na=False).set_index(["source", "row", "column"])
    rows = [(label, key[0], found.printed[key], f"{float(found.ours[key]):.4g}" if found.ours[key] else None, found.provenance[key])
            for label, key in PAPER.items()]
    bars = frame(stored, "results/figure1.csv").set_index(["row", "quantity"]).loc["Proxyless"]
    rows += [(f"{label} of a search, training = 1", "Figure 1", f"about {bars.ratio[name]:.1f}", f"{bars.ours[name]:.2f}", "measured here")
             for label, name in (("memory", "Memory"), ("time", "Search cost"))]
    return markdown(["", "in the paper", "paper", "ours", "ours is"], rows)


def table4(stored):
    found = frame(stored, "results/paper_comparison.csv").query("source == 'Table 4' and column == 'CPU latency'").set_index("network")
    clocks = [frame(stored, f"results/zoo_{clock}.csv", index_col="network").ms for clock in ("cpu", "onnxruntime")]
    return markdown(["ms", "paper, Xeon E5-2640 v4", "measured here, PyTorch", "measured here, ONNX Runtime"], [
        (line.row, line.printed, *(f"{ms[name]:.1f}" for ms in clocks)) for name, line in found.iterrows()])


def by_runtimes(corner, cells):
    """A table of what networks chosen for one runtime (columns) do in another (rows); `cells`: (measured in, chosen for) -> text."""
    return markdown([corner, *(f"for {name}" for name in RUNTIMES)], [(here, *(cells.get((here, there)) for there in RUNTIMES)) for here in RUNTIMES])


def runtimes(stored):
    """In each runtime: how many times as long the networks take that were chosen for another, with the 95 % interval."""
    found = slower(frame(stored, "results/runtimes.csv")).set_index(["measured_in", "chosen_for"])
    times = np.exp(found[["slower", "from", "to"]] / 100)
    return by_runtimes("times as long in", {pair: f"{each.iloc[0]:.2f} [{each.iloc[1]:.2f}, {each.iloc[2]:.2f}]" for pair, each in times.iterrows()})


def runtimes_truth(stored):
    """In each runtime: how much accuracy is lost with the networks that were chosen for another, with the 95 % interval."""
    found = lost(frame(stored, "results/runtimes_truth.csv"))
    return by_runtimes("points lost in", {pair: f"{each['mean']:.1f} [{each['from']:.1f}, {each['to']:.1f}]" for pair, each in found.iterrows()})


STEPS = {"weight": "weight step", "two_path": "α step, two paths (`TwoPath`)", "exact": "α step, all candidates (`Exact`)",
         "darts": "α step through Softmax gates (DARTS)", "all_paths": "weight step through all paths (DARTS, One-Shot)"}


def step_cost(stored):
    cost = frame(stored, "results/step_cost.csv", index_col=["space", "step"])
    columns = [(what, space) for space in ("tree", "chain", "mobile") for what in ("time", "memory")]
    rows = [(label, *(f"{cost.loc[(space, step), what]:.2f}" if (space, step) in cost.index else None for what, space in columns))
            for step, label in STEPS.items()]
    return markdown(["step", *(f"{what}, {space}" for what, space in columns)], rows)


KINDS = {"plain": "plain training step", "all_paths": "One-Shot: weights, all paths", "darts": "DARTS: α, all paths",
         "weight": "ours: weights", "two_path": "ours: α, `TwoPath`", "exact": "ours: α, `Exact`", "weight again": "checkpointing: weights",
         "two_path again": "checkpointing: α, `TwoPath`", "exact again": "checkpointing: α, `Exact`"}


def memory(stored):
    chain, mobile = (bench(stored)["memory"][key] for key in ("by candidates", "mobile"))
    mb = lambda size: f"{size / 1e6:,.0f}"
    few = lambda kind, what: f"{mb(chain[kind][what]['2'])} / {mb(chain[kind][what]['8'])}" if kind in chain else None
    rows = [(label, few(kind, "saved"), few(kind, "peak"), mb(mobile[kind]["saved"]), mb(mobile[kind]["peak"]))
            for kind, label in KINDS.items()]
    return markdown(["MB", "kept, N = 2 / 8", "peak, N = 2 / 8", "kept, mobile", "peak, mobile"], rows)


def search_cost(stored):
    searches, steps = bench(stored)["search_cost"], bench(stored)["step_cost"]
    times = {space: steps[space]["of a plain step"] for space in ("tree", "chain", "mobile")}
    whole = [(f"whole search, {key}", f"{found['search / training']:.2f}", "training of the derived network", "tree")
             for key, found in searches.items() if key.startswith("α")]
    steps = [(label, f"{times[space][kind]['time']:.2f}", "plain training step", space) for kind, label, space in (
        *(("two_path", "α step, two paths", space) for space in times), ("weight again", "weight step with checkpointing", "mobile"),
        ("two_path again", "α step with checkpointing", "mobile"))]
    return markdown(["", "times", "a", "space"], whole + steps)


def latency_model(stored):
    found = bench(stored)["latency_model"]
    cpu, test, best = found["cpu"], found["cpu"]["test"], found["cpu"]["public best"]
    published = frame(stored, "results/paper_comparison.csv").query("source == 'Figure 5'").printed.iloc[0]
    apart = found["tables an hour apart"]
    differ = [(f"two tables an hour apart, {label}: median / 90 % / worst, %",
               " / ".join(f"{100 * apart[key][quantile]:.0f}" for quantile in ("median", "90 %", "worst")))
              for key, label in (("raw", "raw"), ("after reference correction", "relative to the reference"))]
    rows = [("networks to fit", f"{cpu['networks'] - test['networks']:,}", "4,000", f"{best['networks']:,}"),
            ("RMSE, ms", f"{test['rmse']:.3f}", published), ("mean latency, ms", f"{test['mean']:.1f}"),
            ("RMSE / mean, %", f"{100 * test['rmse/mean']:.2f}", None, f"{100 * best['rmse/mean']:.2f}"),
            ("Kendall τ", f"{test['kendall tau']:.3f}", None, f"{best['kendall tau']:.3f}"),
            ("noise floor, single visits / split-half, ms", f"{test['noise']:.3f} / {test['noise, split-half']:.3f}"),
            ("RMSE / noise floor, the same", f"{cpu['rmse/noise']:.2f} / {cpu['rmse/noise, split-half']:.2f}"),
            ("RMSE with 200 networks / with 4,000", f"{cpu['rmse with 200 / with 4000']:.2f}"), *differ]
    return markdown(["", "measured here, CPU", "paper, Pixel 1", "best public CPU result"], [(*row, None, None)[:4] for row in rows])


def transfer(stored):
    """Kendall's τ on a new device, by what is known of it."""
    found = frame(stored, "results/transfer.csv").groupby(["by", "networks"], sort=False).tau.agg(["mean", "sem"]).reset_index()
    cell = lambda row: f"{row['mean']:.3f}" + (f" ± {row['sem']:.3f}" if row["sem"] == row["sem"] else "")  # noqa: E731
    cells = found.assign(cell=found.apply(cell, axis=1)).pivot_table("cell", "by", "networks", aggfunc="first", sort=False)
    return markdown(["networks measured", *(f"{n:,}" for n in cells)], [(by, *row) for by, row in zip(cells.index, cells.to_numpy())])


def found_and_random(stored):
    """Test accuracy of networks found, next to random networks of equal cost trained the same way."""
    spread = lambda accuracies: f"{100 * accuracies.mean():.1f} ± {100 * accuracies.std():.1f}"
    mobile = frame(stored, "results/mobile_lesson.csv").groupby("run")
    runs = [("CIFAR-10, preset `lesson`", frame(stored, "results/cifar10_lesson.csv")),
            *((f"ImageNet, 20 classes at 64 px, seed {run.seed.iloc[0]}", run) for _, run in mobile)]
    rows = []
    for label, run in runs:
        own = run.network.eq("found")
        rows.append((label, f"{100 * run.test_accuracy[own].item():.1f}", spread(run.test_accuracy[~own]), f"1, {sum(~own)}"))
    return markdown(["search", "found, %", "random of equal cost, %", "n"], rows)


def tree(stored):
    rows = cifar10_tree_rows.Runs.read(stored / "results" / "cifar10_tree.csv")
    lines = cifar10_tree_rows.comparison(cifar10_tree_rows.pairs(rows), rows.attrs["setting"]["target_ms"])
    return markdown(list(lines), lines.replace("", "–").itertuples(index=False))


@cache
def judged(stored, name):
    """Truth, its searches with their scores, and the expected regret (points) of random search as a function of the cost."""
    path = stored / "ground_truth" / f"{name}.csv"
    table = ground_truth.load(path)
    chance = 100 * ground_truth.random_search(table, ground_truth.read(path), range(1, 21))["mean"]
    found = ground_truth.score(table, ground_truth.read_searches(stored / "results" / f"searches_{name}.csv"))
    return table, found, lambda cost: np.interp(np.log(cost), np.log(chance.index), chance)


def truth(stored, name):
    """Regret, cost and shared weights of every method; `gain` is how much the mean improves when shared weights choose at the end."""
    _, found, expects = judged(stored, name)
    points = 100 * found.assign(gain=found.regret - found.by_shared).groupby("method")[["regret", "gain"]].agg(["mean", "sem"])
    pm = lambda method, what: "{:.2f} ± {:.2f}".format(*(points.loc[method, what].round(2) + 0.0))  # no -0.00
    rows = [(f"`{method}`", f"{of['median']:.2f}", pm(method, "regret"), f"{expects(of.cost):.1f}", f"{of.cost:.1f}", f"{of.in_band:.2f}",
             f"{100 * of.tied:.0f}", f"{of.tau:.2f}", pm(method, "gain")) for method, of in ground_truth.summary(found).iterrows()]
    return markdown(["method", "regret: median", "mean ± se", "random search, mean", "cost", "equal cost: median", "tied, %", "τ", "gain"], rows)


def choices(stored):
    """What searches that choose among whole networks found in three tables, by kind of costs, and what training all networks once would."""
    rows, names, of = [], {"none": "none", "macs": "five, in MACs", "ms": "three, in ms"}, ground_truth.choices
    for name, space in {"cifar10": "CIFAR-10", "cifar10_32": "CIFAR-10, 32 px", "digits": "digits"}.items():
        for how, found in (("search", of.Choices.read(stored / "results" / f"choices_{name}.csv")), ("all trained once", of.all_trained(name, names))):
            for kind, row in of.told(of.scored(name, found)).iterrows():
                regret = f"{row.regret:.2f} ± {row.error:.2f}" if kind == "none" else None
                rows.append((space, names[kind], how, int(row.chosen), f"{row.cost:.1f}", regret, f"{row.above:.0f}", f"{row.wins:.0f}", f"{row.gain:+.2f}"))
    rows.sort(key=lambda row: (row[0], list(names.values()).index(row[1])))  # a search and its bound below each other
    return markdown(["space", "limits", "by", "networks chosen", "cost", "regret ± se", "better at equal cost, %, median",
                     "beats a blind choice, %", "gain"], rows)


def chosen_and_random(stored, name):
    """Networks that notebook 11 chose within the highest of three latencies, and random ones of equal latency, by seed of the search."""
    table = frame(stored, f"results/compared_{name}.csv", dtype={"network": str})
    percent, gain = (100 * table.accuracy).map("{:.1f}".format), compared.gains(table)
    rows = []
    for seed, of in table.assign(percent=percent).groupby("seed"):
        chosen, random, most = (of[of.kind == kind].sort_values("target", kind="stable") for kind in ("chosen", "random", "most MACs"))
        rows.append((seed, f"{chosen.target.iloc[-1]:.2f}", f"{chosen.macs.iloc[-1] / 1e6:.1f}", chosen.percent.iloc[-1], ", ".join(random.percent),
                     most.percent.iloc[-1] if len(most) else None, f"{gain[seed]:+.2f}", ", ".join(chosen.percent[:-1])))
    one, count = 100 * compared.best_of(table, 1), (table.kind == "random").sum()
    best = [f", the best of {word} {100 * compared.best_of(table, n):.1f} %" for n, word in ((5, "five"), (7, "seven")) if n <= count]
    mean = 100 * table[(table.kind == "most MACs") & (table.target == table.groupby("seed").target.transform("max"))].accuracy.mean()
    competitor = "" if math.isnan(mean) else f"; most MACs {mean:.1f} %"
    means = f"Means: chosen {gain.mean() + one:.1f} %{competitor}; random {one:.1f} %{''.join(best)}."
    header = ["seed", "at most, ms", "MMACs", "chosen, %", "random, %", "most MACs, %", "gain over random", "chosen within the lower limits, %"]
    return "\n\n".join([markdown(header, rows), f"{compared.told(gain)}.", means])


def rivals(stored, name):
    """Regret on a table after some trainings, in the mean and by seed, of rivals and of searches that choose, the best at 9 trainings first."""
    at, curves = [4, 6, 7, 8, 9, 12], frame(stored, f"results/rivals_{name}.csv")
    own = ground_truth.choices.by_trainings(name, ground_truth.choices.Choices.read(stored / "results" / f"choices_{name}.csv"))
    own["rival"] = "search and choose, " + own.trainings.map({1: "one training", 2: "two trainings", 3: "three trainings", 4: "four trainings"})
    own["cost"] = np.ceil(own.groupby("rival").cost.transform("mean")).astype(int)  # at the next column, where all rivals have spent as much
    by_seed = 100 * pd.concat([own, curves]).groupby(["rival", "cost", "seen"]).regret.mean().unstack()
    cell = lambda at: f"{at.mean():.2f} ({', '.join(at.map('{:.2f}'.format))})" if at.name in by_seed.index else None  # noqa: E731
    order = [*own.rival.unique(), *by_seed.xs(9, level="cost").mean(axis=1).drop(own.rival, errors="ignore").sort_values(kind="stable").index]
    rows = [(name, *(cell(by_seed.reindex([(name, cost)]).iloc[0]) for cost in at)) for name in order]
    return markdown(["regret after … trainings", *map(str, at)], rows)


def seed_noise(stored):
    """How much accuracy varies between seeds in each space, and how many networks tie with the best within that."""
    rows = []
    for name, label in (("digits", "digits"), ("cifar10", "CIFAR-10"), ("cifar10_third", "CIFAR-10, third space")):
        table = judged(stored, name)[0]
        sd, images, mean = ground_truth.seed_sd(table), table.attrs["test_images"], table["mean"]
        rows.append((label, len(table), f"{images:,}", f"{100 * sd:.2f}", f"{200 * sd:.2f}", (mean >= mean.max() - 2 * sd).sum()))
    return markdown(["space", "networks", "test images", "sd between seeds, points", "a tie: 2 sd", "tied with the best"], rows)


def settings(stored):
    """Searches with one setting changed; `gain` in mean regret over the stored searches, paired by seed."""
    table, unchanged, expects = judged(stored, "cifar10")
    tried = search_settings.read(stored / "results" / "search_settings_cifar10.csv")
    single = ground_truth.score(table, tried[tried.seed < search_settings.TRIED])
    pairs = single.merge(unchanged, on=["method", "seed"], suffixes=("", "_before"))
    gain = (100 * (pairs.regret_before - pairs.regret)).groupby([pairs.method, pairs.changed]).agg(["mean", "sem"])
    unchanged = unchanged[unchanged.method.isin(single.method)].assign(changed="nothing")
    both = ground_truth.summary(pd.concat([unchanged, single]), ["method", "changed"])
    rows = [(f"`{method}`", f"`{change}`", f"{of['median']:.2f}", f"{of['mean']:.2f}", f"{expects(of.cost):.1f}", f"{of.cost:.1f}",
             "{:+.2f} ± {:.2f}".format(*gain.loc[(method, change)]) if change != "nothing" else None)
            for (method, change), of in both.sort_index(ascending=False).iterrows()]
    return markdown(["method", "changed", "regret: median", "mean", "random search, mean", "cost", "gain ± se"], rows)


def estimators(stored):
    rows = frame(stored, "results/estimators_cifar10.csv")
    medians = rows[rows.weights == "searched"].groupby(["rule", "alpha"])[["cosine", "bias", "variance"]].median()
    return markdown(["rule", *(f"α {alpha}" for alpha in rows.alpha.unique())], [
        (f"`{rule}`", *("{:.3f} / {:.2f} / {:.2f}".format(*medians.loc[(rule, alpha)]) for alpha in rows.alpha.unique()))
        for rule in rows.rule.unique()])


BLOCKS = {"notebooks": notebooks, "paper": paper, "table4": table4, "runtimes": runtimes, "runtimes-truth": runtimes_truth,
          "step-cost": step_cost, "memory": memory, "search-cost": search_cost,
          "latency-model": latency_model, "transfer": transfer, "found-and-random": found_and_random, "tree": tree, "seed-noise": seed_noise,
          **{f"truth-{name}": partial(truth, name=name) for name in ("digits", "cifar10", "cifar10_third")},
          **{f"compared-{name}": partial(chosen_and_random, name=name) for name in ("cifar10", "imagenet20")},
          "settings": settings, "choices": choices, **{f"rivals-{name}": partial(rivals, name=name) for name in ("cifar10", "cifar10_32")}, "estimators": estimators}


def renewed(text, page, stored):
    """The text of a page with all its blocks renewed. Raises ValueError for a block that is unknown or has no end."""
    def write(match):
        name = match[2]
        if name not in BLOCKS:
            raise ValueError(f"{page}: unknown block {name!r}; allowed: {', '.join(BLOCKS)}")
        return f"{match[1]}{BLOCKS[name](stored)}\n{match[4]}"
    if not text.count("<!-- generated:") == text.count("<!-- end -->") == len(BLOCK.findall(text)):
        raise ValueError(f"{page}: a block without both lines; write <!-- generated: NAME --> above it and <!-- end --> below")
    return BLOCK.sub(write, text)


def main(root=ROOT):
    """Renew the pages below `root` from its tables. Returns the names of those that changed."""
    stored = root / "proxyless_lite" / "tables"
    pages = root / "README.md", *sorted((root / "docs").glob("*.md")), stored / "README.md", stored / "results" / "README.md"
    old = {path: path.read_text() for path in pages}
    new = {path: renewed(text, path.relative_to(root), stored) for path, text in old.items()}
    if unused := set(BLOCKS) - {name for text in old.values() for _, name, *_ in BLOCK.findall(text)}:
        raise ValueError(f"no page has the block {', '.join(sorted(unused))}; add its two lines to a page, or take it out of BLOCKS")
    changed = [path for path in pages if new[path] != old[path]]
    for path in changed:
        path.write_text(new[path])
    return [str(path.relative_to(root)) for path in changed]


if __name__ == "__main__":
    try:
        print("renewed:", ", ".join(main()) or "nothing; all numbers are those of the stored tables")
    except ValueError as error:
        sys.exit(f"error: {error}")

"""The prose outside the notebooks: its numbers are computed again, its links lead somewhere, its commands and its code run."""

import argparse
import ast
import importlib
import json
import math
import re
import shlex
import statistics
import subprocess
from functools import cache
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import cifar10_tree_rows
import latency_model
import proxyless_lite as pl
from proxyless_lite import ground_truth, notebook, paper
from proxyless_lite.search.forecast import PAPER_GPU_HOURS

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data"
PAGES = ("README.md", "CONTRIBUTING.md", "notebooks/TEACHING.md", "docs/measurements.md", "docs/gpu.md", "docs/python.md", "data/README.md",
         "data/results/README.md", "data/ground_truth/README.md")
NOTEBOOKS = {path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))}
COURSE = {f"{n:02d}" for n in range(11)}
EXECUTED = {"notebooks/TEACHING.md", "CONTRIBUTING.md"}  # their Python blocks run as they stand


@cache
def text(page):
    """A page of Markdown, or the Markdown of notebook "07"."""
    if page in NOTEBOOKS:
        return "\n\n".join(cell.source for cell in course(page).cells if cell.cell_type == "markdown")
    return (ROOT / page).read_text()


def says(page, *phrases):
    """Each phrase stands in the page, whatever the line breaks."""
    content = " ".join(text(page).split())
    missing = [phrase for phrase in phrases if not re.search(rf"(?<![\d.,]){re.escape(phrase)}(?![\d]|[.,]\d)", content)]
    assert not missing, f"{page} does not say {missing}"


def blocks(page, language=""):
    return re.findall(rf"^```{language}\n(.*?)^```", text(page), flags=re.M | re.S)


@cache
def course(number):
    if number not in NOTEBOOKS:
        pytest.skip(f"notebook {number} is not there yet")
    return nbformat.read(NOTEBOOKS[number], 4)


def printed(number):
    """All that the stored run of a notebook printed or showed as text."""
    outputs = [o for c in course(number).cells if c.cell_type == "code" for o in c.outputs]
    return "\n".join(o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs)


# -- numbers: spaces and networks --------------------------------------------------------------------------------------


def test_spaces():
    tree, mobile = pl.SuperNet(pl.spaces.tree(18, 400)), pl.SuperNet(pl.spaces.mobile())
    edges, alphas, weights = ([f"{n:,}" for n in of] for of in zip(*map(counts, (tree, mobile))))
    says("docs/measurements.md", f"tree(18, 400) has {edges[0]} decisions, {alphas[0]} α and {weights[0]} weights",
         f"mobile space: {edges[1]} edges, {alphas[1]} α, {weights[1]} weights, 6⁶·7¹⁵ networks")
    assert mobile.space.size() == 6**6 * 7**15
    says("README.md", f"{edges[0]} edges, {alphas[0]} α")


def counts(net):
    return len(net.mixed_ops), sum(a.numel() for a in net.architecture_parameters()), sum(p.numel() for p in net.weight_parameters())


def test_blocks_of_the_mobile_space():
    table = pl.latency.Table.load(DATA / "latency" / "mobile_cpu_table_a.csv")
    space = pl.spaces.mobile()
    distinct = {b for e in space.edges() for b in map(e.block, e.candidates) if b.operation != "Zero"} | set(space.fixed_blocks())
    assert len(distinct) == len(table.entries)
    says("README.md", f"all {len(distinct)} blocks of the ImageNet space")
    says("docs/measurements.md", f"Two tables of all {len(distinct)} blocks")


def test_released_networks():
    mobile, gpu, cifar = pl.zoo.proxyless_mobile(), pl.zoo.proxyless_gpu(), pl.zoo.proxyless_cifar()
    says("README.md", f"| {cifar.params() / 1e6:.1f} M | {cifar.params():,} | recomputed |",
         f"| {mobile.params():,} and {mobile.macs():,} | recomputed |", f"with {cifar.params() / 1e6:.1f} M params")
    says("docs/measurements.md", f"the released CIFAR network {cifar.params():,} params, {cifar.macs():,} MACs")
    assert gpu.macs() > pl.zoo.proxyless_cpu().macs()  # TEACHING: more MACs, and faster
    words = dict(enumerate("zero one two three four five six seven eight nine ten".split()))
    says("docs/measurements.md", f"the {words[len(pl.zoo.RELEASED)]} released networks and {words[len(pl.zoo.BASELINES)]} baselines")
    says("docs/python.md", f"The {words[len(pl.zoo.RELEASED)]} networks that the authors released", f"{words[len(pl.zoo.BASELINES)]} networks they are compared with")


def printed_in_the_paper(source, row, column):
    """A number as the paper prints it."""
    found = paper.numbers()
    (printed,) = found.printed[found.source.eq(source) & found.row.eq(row) & found.column.eq(column)]
    return printed


def test_numbers_that_the_paper_gives():
    error = printed_in_the_paper("Table 1", "Proxyless-G + c/o", "Test error")
    says("README.md", f"the paper: {100 - float(error):.2f} % with {printed_in_the_paper('Table 1', 'Proxyless-G + c/o', 'Params')} M params",
         f"the paper: {PAPER_GPU_HOURS} GPU-hours for ImageNet")
    assert str(PAPER_GPU_HOURS) == printed_in_the_paper("Table 2", "Proxyless-R (mobile)", "Search cost")


def test_the_papers_column_of_paper_and_ours():
    said = dict(re.findall(r"^\| (.+?) \| (.+?) \| .+ \| .+ \|$", text("README.md").split("## The paper and ours")[1].split("\n## ")[0], flags=re.M))
    at = printed_in_the_paper
    ms = " / ".join(at("Table 4", f"Proxyless ({device})", "CPU latency") for device in ("GPU", "CPU", "mobile"))
    expected = {
        "CIFAR-10, Proxyless-G (Table 1): params": f"{at('Table 1', 'Proxyless-G + c/o', 'Params')} M",
        "… test error": f"{at('Table 1', 'Proxyless-G + c/o', 'Test error')} %",
        "decisions of its space (§4.1)": at("§4.1", "Decisions of the CIFAR-10 search", "Decisions"),
        "ImageNet, Proxyless (mobile) (Table 2): top-1": f"{at('Table 2', 'Proxyless-R (mobile)', 'Top-1')} %",
        "… latency, Pixel 1": f"{at('Table 2', 'Proxyless-R (mobile)', 'Mobile latency')} ms",
        "… search": f"{at('Table 2', 'Proxyless-R (mobile)', 'Search cost')} GPU-hours",
        "Proxyless (GPU) (Table 3): top-1": f"{at('Table 3', 'Proxyless (GPU)', 'Top-1')} %",
        "… latency, V100, batch 8": f"{at('Table 3', 'Proxyless (GPU)', 'GPU latency')} ms",
        "GPU / CPU / mobile network on a CPU (Table 4)": f"{ms} ms",
        "MobileNetV2 1.4 / Proxyless (mobile), time (Figure 4)": f"{at('§4.2', 'Proxyless (mobile) faster than MobileNetV2 1.4', 'Mobile latency')} × on the Pixel 1",
        "latency model, RMSE (Figure 5)": f"{at('Figure 5', 'Latency model', 'RMSE')} ms, Pixel 1",
        **{f"{ours} of a search, training = 1 (Figure 1)": "about {:.1f}, read off the figure".format(
            float(at("Figure 1", "Proxyless", theirs)) / float(at("Figure 1", "Normal training", theirs))) for ours, theirs in (("memory", "Memory"), ("time", "Search cost"))}}
    assert {label: cell for label, cell in said.items() if cell not in ("–", "paper") and set(cell) != {"-"}} == expected
    for device in ("GPU", "CPU", "mobile"):
        says("docs/measurements.md", f"| Proxyless ({device}) | {at('Table 4', f'Proxyless ({device})', 'CPU latency')} |")
    says("docs/measurements.md", f"(paper: {at('Figure 4', 'Proxyless (mobile) 1.4', 'Mobile latency')} ms)", f"the paper measured {at('Table 2', 'Proxyless-R (mobile)', 'Mobile latency')} ms",
         f"| {at('Figure 5', 'Latency model', 'RMSE')} ms | – |")


def test_accuracies_that_were_released():
    top1 = pd.read_csv(DATA / "paper" / "released.csv", dtype=str, index_col="network").top1
    says("README.md", *(f"{printed_in_the_paper(table, row, 'Top-1')} % | {top1[network]} % | released |" for table, row, network in (
        ("Table 2", "Proxyless-R (mobile)", "proxyless_mobile"), ("Table 3", "Proxyless (GPU)", "proxyless_gpu"))),
         f"| … test error | {printed_in_the_paper('Table 1', 'Proxyless-G + c/o', 'Test error')} % | {100 - float(top1['proxyless_cifar']):.2f} % | released |")


def test_predictions_for_the_pixel_1_are_the_stored_ones():
    ms = pd.read_csv(DATA / "results" / "pixel1.csv", comment="#", index_col="network").ms
    says("README.md", f"{ms['proxyless_mobile']:.1f} ms from the released table")
    says("docs/measurements.md", f"proxyless_mobile_14 as {ms['proxyless_mobile_14']:.1f} ms", f"it says {ms['proxyless_mobile']:.1f} ms")


def test_every_row_of_paper_and_ours_says_where_it_comes_from():
    table = text("README.md").split("## The paper and ours")[1].split("\n## ")[0]
    labels = [row.split("|")[-2].split(";")[0].strip() for row in table.splitlines() if row.startswith("| ") and "---" not in row][1:]
    assert len(labels) > 10 and set(labels) <= {"paper", "released", "recomputed", "measured here", "not reproduced"}


# -- numbers: measurements ---------------------------------------------------------------------------------------------


def test_networks_of_table_4_on_a_cpu():
    torch_ms, onnx_ms = (pd.read_csv(DATA / "results" / f"zoo_{runtime}.csv", comment="#", index_col="network").ms for runtime in ("cpu", "onnxruntime"))
    three = ["proxyless_gpu", "proxyless_cpu", "proxyless_mobile"]
    says("README.md", f"{' / '.join(f'{ms:.1f}' for ms in torch_ms[three])} ms, another CPU",
         " × in PyTorch, ".join(f"{ms['mobilenet_v2_1.4'] / ms['proxyless_mobile']:.2f}" for ms in (torch_ms, onnx_ms)) + " × in ONNX Runtime")
    for label, name in zip(("GPU", "CPU", "mobile"), three):
        says("docs/measurements.md", f"| {torch_ms[name]:.1f} | {onnx_ms[name]:.1f} |")
        assert re.search(rf"\| Proxyless \({label}\) \| [\d.]+ \| {torch_ms[name]:.1f} \| {onnx_ms[name]:.1f} \|", text("docs/measurements.md"))
    assert all(ms[three].idxmax() == "proxyless_cpu" for ms in (torch_ms, onnx_ms)), "On this CPU it is the slowest, with both runtimes"


def test_step_costs():
    file = DATA / "results" / "step_cost.csv"
    if not file.exists():
        pytest.skip("data/results/step_cost.csv is not there yet")
    cost = pd.read_csv(file, comment="#", index_col=["space", "step"])
    for step, label in (("weight", "weight step"), ("two_path", "α step, two paths (`TwoPath`)"), ("exact", "α step, all candidates (`Exact`)"),
                        ("darts", "α step through Softmax gates (DARTS)")):
        row = " | ".join(f"{cost.loc[(space, step), column]:.2f}" for space in ("tree", "chain", "mobile") for column in ("time", "memory"))
        says("docs/measurements.md", f"| {label} | {row} |")
    says("docs/measurements.md", " | ".join(f"{cost.loc[('mobile', 'all_paths'), column]:.2f}" for column in ("time", "memory")))
    weight, alpha = (cost.loc[("mobile", step)] for step in ("weight", "two_path"))
    bench = json.loads((DATA / "results" / "bench.json").read_text())
    says("README.md", f"{weight.memory:.2f} on the ImageNet space (its weight steps; an α step {alpha.memory:.2f})",
         f"{weight.time + alpha.time / 5:.2f} by its steps on the ImageNet space (an α step {alpha.time:.2f}); {bench['search_cost']['α step every 5th']['search / training']:.2f} for a whole search on the tree")


def test_memory_in_megabytes():
    bench = json.loads((DATA / "results" / "bench.json").read_text())
    chain, mobile = bench["memory"]["by candidates"], bench["memory"]["mobile"]
    mb = lambda size: f"{size / 1e6:,.0f}"  # noqa: E731
    for label, kind in (("plain training step", "plain"), ("One-Shot: weights, all paths", "all_paths"), ("DARTS: α, all paths", "darts"),
                        ("ours: weights", "weight"), ("ours: α, `TwoPath`", "two_path"), ("ours: α, `Exact`", "exact"),
                        ("recompute: weights", "weight again"), ("recompute: α, `TwoPath`", "two_path again"), ("recompute: α, `Exact`", "exact again")):
        few = [f"{mb(chain[kind][what]['2'])} / {mb(chain[kind][what]['8'])}" if kind in chain else "–" for what in ("saved", "peak")]
        says("docs/measurements.md", f"| {label} | {' | '.join(few)} | {mb(mobile[kind]['saved'])} | {mb(mobile[kind]['peak'])} |")
    kept, peak = (bench["bars"][f"DARTS / ours with recomputation, {what} bytes, mobile"]["value"] for what in ("saved", "peak"))
    says("docs/measurements.md", f"takes {kept:.0f} times what ours keeps with `recompute`, and {peak:.0f} times the peak")
    share = [mobile[kind]["saved"] / mobile[f"{kind} again"]["saved"] for kind in ("weight", "two_path")]
    assert [round(s) for s in share] == [6, 13] and bench["bars"]["gradients with and without recomputation"]["value"] == 0
    says("docs/gpu.md", "from a sixth of what a weight step keeps on the ImageNet space, and a thirteenth of an α step's")


def test_memory_of_gates():
    growth = ast.literal_eval(re.search(r"memory at N = 8 over N = 2: (\{.*?\})", printed("02"))[1])  # the stored run; notebook 02 asserts it
    says("notebooks/TEACHING.md", f"the memory of Softmax gates grows {growth['Softmax (DARTS)']:.1f} times")
    says("docs/measurements.md", f"for DARTS by a factor of {growth['Softmax (DARTS)']:.1f}")


def test_latency_model():
    timings = pl.latency.Timings.load(DATA / "latency" / "mobile_cpu.csv")
    repeats, (fit, test) = timings.repeats(), latency_model.split(timings)
    chosen = lambda indices: ([timings.architectures[i] for i in indices], repeats[indices])  # noqa: E731
    model = pl.latency.Model().fit(*chosen(fit))
    report = model.report(*chosen(test))
    drift = latency_model.visit_autocorrelation(timings, model, test)
    few = np.mean([pl.latency.Model().fit(*chosen(part)).report(*chosen(test))["rmse"] for part in latency_model.parts(fit, 200)])
    says("README.md", f"{report['rmse']:.3f} ms of {report['mean']:.1f} ms, CPU")
    says("docs/measurements.md", f"{len(fit):,} / {len(test):,}", f"{report['rmse']:.3f} ms of {report['mean']:.1f} ms", f"| {report['rmse/mean']:.2%} |".replace("%", " %"),
         f"{report['kendall tau']:.3f}", f"{report['noise']:.3f} / {report['noise, split-half']:.3f} ms",
         f"{report['rmse'] / report['noise']:.2f} / {report['rmse'] / report['noise, split-half']:.2f}", f"{few / report['rmse']:.2f}",
         f"{drift['raw']:.2f} / {drift['ratio to the reference']:.2f}".replace("-", "−"))


def test_two_tables_an_hour_apart():
    apart = latency_model.tables_apart()
    after = apart["after reference correction"]
    says("docs/measurements.md", f"Two tables of all {apart['blocks']} blocks, taken 76 minutes apart, agree within {100 * after['median']:.1f} % in the median entry "
         f"(raw times: {100 * apart['raw']['median']:.0f} %; nine entries in ten within {100 * after['90 %']:.1f} %, the worst {100 * after['worst']:.0f} %)")


def test_pixel_1():
    if not (pl.runtime.default_root() / "mobile_trim.yaml").exists():
        pytest.skip("the released Pixel 1 table is not at hand")
    found = latency_model.pixel1()
    ms = {name: row["table and model, ms"] for name, row in found["predicted"].items()}
    says("docs/measurements.md", f"has {len(pl.latency.Table.pixel1().entries)} rows", f"within {100 * found['leave one out']['mean']:.1f} % on average",
         f"proxyless_mobile_14 as {ms['proxyless_mobile_14']:.1f} ms", f"proxyless_mobile, for which it says {ms['proxyless_mobile']:.1f} ms")
    says("README.md", f"{ms['proxyless_mobile']:.1f} ms from the released table")


# -- numbers: runs -----------------------------------------------------------------------------------------------------


def test_the_search_on_the_digits_is_that_of_notebook_03():
    found, *randoms = map(float, re.findall(r"^\d +(?:found|random \d) .* ([\d.]+) *$", printed("03"), flags=re.M))
    images = int(re.search(r"([\d,]+) test images", printed("03"))[1])
    says("README.md", f"found network {found:.1f} % of {images} test digits, random ones {statistics.mean(randoms):.1f} ± {statistics.stdev(randoms):.1f} % (n = {len(randoms)})")


def test_the_animation_is_of_the_quick_preset():
    experiment = pl.presets.experiment("quick")
    edges = experiment.space().edges()
    epochs = experiment.search.epochs + experiment.search.warmup_epochs
    assert len(edges[0].candidates) == 7
    says("README.md", f"seven operations on {len(edges)} edges", f"{len(edges)} edges of a network (rows)")
    with Image.open(ROOT / "figures" / "alpha.gif") as movie:
        assert movie.n_frames in (epochs, epochs + 1), "run make animation"  # the last one may be stored twice, as it rests


def test_the_lesson_on_cifar10():
    """Its networks are of one cost, and what README and the header of notebook 03 say of the time."""
    path = DATA / "results" / "cifar10_lesson.csv"
    about, rows = json.loads(path.read_text().split("\n")[0][2:]), pd.read_csv(path, comment="#", dtype={"choices": str}, index_col="network")
    space = pl.presets.experiment("lesson").space()
    for row in rows.itertuples():
        network = ground_truth.network(space, row.choices)
        assert (network.macs(), network.params()) == (row.macs, row.params) and abs(row.macs / rows.macs["found"] - 1) <= 0.05
    assert rows.choices.nunique() == len(rows) and (rows.seconds.sum() + about["search_seconds"]) / 60 < about["minutes"]
    says("README.md", f"| `{about['command']}` | {about['minutes']} min |")
    assert f"| {about['minutes']} min on two cores |" in text("03")


def test_short_searches_on_images_of_imagenet():
    """The runs of notebook 06, preset lesson: what README, docs and the notebook's header say of them."""
    runs = pd.read_csv(DATA / "results" / "mobile_lesson.csv", comment="#").groupby("run")
    found, randoms, minutes = [], [], []
    for _, run in runs:
        own, others = run[run.network == "found"].iloc[0], 100 * run.test_accuracy[run.network != "found"]
        assert len(others) == 3 and round(100 * own.macs / own.target_macs) == 97
        found.append(f"{100 * own.test_accuracy:.1f}")
        randoms.append(f"{others.mean():.1f} ± {others.std():.1f}")
        minutes.append(round((run.seconds.sum() + own.search_seconds) / 60))
    assert len(found) == 2 and runs.seed.first().tolist() == [0, 1]
    quoted = f"found networks {found[0]} and {found[1]} % (seeds 0 and 1), random ones {randoms[0]} and {randoms[1]} % (n = 3 each)"
    says("README.md", quoted, f"{minutes[1]} and {minutes[0]} min of one core, beside other work")
    says("docs/gpu.md", quoted, f"{minutes[0]} and {minutes[1]} minutes on one thread, beside other work")
    says("docs/measurements.md", f"{found[0]} % against {randoms[0]} %, and {found[1]} % against {randoms[1]} %", "Both cost 97 % of the target")
    assert f"{max(minutes)} min with one thread" in text("06")


def searched(name):
    """Truth, its runs, and the judged searches of a setting."""
    truth = ground_truth.load(name)
    return truth, ground_truth.read(ground_truth.FOLDER / f"{name}.csv")[1], ground_truth.judge(truth, ground_truth.read_searches(DATA / "results" / f"searches_{name}.csv")[1])


@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_searches_against_the_truth(name):
    truth, runs, found = searched(name)
    chance = ground_truth.random_search(truth, runs, range(1, 16))["mean"]
    assert set(found.method) == set(ground_truth.METHODS)
    for method, rows in found.groupby("method"):
        cost, points, in_band, chosen = rows.cost.median(), 100 * rows.regret, 100 * rows.in_band.median(), 100 * rows.by_shared.median()
        random = 100 * np.interp(np.log(cost), np.log(chance.index), chance)
        says("docs/measurements.md", f"| `{method}` | {points.median():.2f} | {points.mean():.2f} | {points.max():.1f} | {in_band:.2f} | {cost:.1f} | {random:.1f} | {rows.tau.median():.2f} | {chosen:.2f} |")


def test_searches_on_the_digits_in_words():
    truth, _, found = searched("digits")
    says("README.md", f"{100 * found.regret[found.method == 'two_path'].median():.2f} points of accuracy")
    says("docs/measurements.md", f"all {len(truth)} distinct networks", f"{len(found)} searches there", f"{found.tied.sum()} of the {len(found)}",
         f"deviation is {100 * ground_truth.seed_sd(truth):.2f} points", f"{(truth['mean'].max() - truth['mean'] <= 2 * ground_truth.seed_sd(truth)).sum()} of the {len(truth)} networks")


def test_searches_on_cifar10_in_words():
    truth, runs, found = searched("cifar10")
    noise, medians = 200 * ground_truth.seed_sd(truth), found.groupby("method")[["regret", "in_band", "cost", "better"]].median()
    own = 100 * medians.loc["two_path"]
    chance = ground_truth.random_search(truth, runs, range(1, 16))["mean"]
    expects = 100 * np.interp(np.log(medians.cost["two_path"]), np.log(chance.index), chance)
    mean = 100 * found.regret[found.method == "two_path"].mean()
    says("README.md", f"CIFAR-10 (n = {(found.method == 'two_path').sum()}): median {own.regret:.2f}, mean {mean:.1f} of all networks (random search of that price: mean {expects:.1f}), {own.in_band:.2f} among those of equal cost", f"seed noise (2 sd) is {noise:.2f}")
    n, tied = found.groupby("method").size().iloc[0], found.tied.sum()
    says("docs/measurements.md", f"{len(found)} searches there, {n} by each method", f"of the best ({noise:.2f} points) in the median, for less than 1/50 of the table's cost ({len(runs) / 50:.1f} trainings)",
         f"{tied} of the {len(found)} searches end in that tie")
    cheap = [f"`{rule}`" for rule in ground_truth.METHODS if 100 * medians.in_band[rule] <= noise and medians.cost[rule] <= len(runs) / 50]
    says("docs/measurements.md", f"Against networks of equal cost {', '.join(cheap)} are within two sd")
    assert {"`two_path`", "`trapezoid`"} <= set(cheap) and (medians.better[["two_path", "trapezoid"]] <= 0.01).all()
    tied_in_the_median = ", ".join(f"`{rule}`" for rule in ground_truth.METHODS if 100 * medians.regret[rule] <= noise)
    says("docs/measurements.md", f"in the median, {tied_in_the_median or 'none'}.", "a regret within two sd of the best of all is not")
    says("notebooks/TEACHING.md", "on CIFAR-10 fewer than a third")
    assert 0.25 < tied / len(found) < 1 / 3
    assert not {"`two_path`", "`trapezoid`"} & set(tied_in_the_median.split(", "))


def test_the_searches_in_the_tree_space():
    about, rows = cifar10_tree_rows.read(DATA / "results" / "cifar10_tree.csv")
    found = cifar10_tree_rows.pairs(rows)
    table = cifar10_tree_rows.comparison(found, about["setting"]["target_ms"])
    assert found.groupby("seed").size().eq(4).all() and len(rows) == 4 * 4 * found.seed.nunique()
    for line in table.itertuples():
        cells = " | ".join((line.found, line.random, line.n, line.difference, line.p, line.entropy))
        says("docs/measurements.md", f"| `{line.rule}` | {line.cost} | {cells} |" if line.cost else f"| all | | {cells} |")
    best = found[(found.rule == "two_path") & (found.cost == "none")]
    test = cifar10_tree_rows.difference(best)
    own, every = cifar10_tree_rows.line(best, "", "", math.nan), f"all four {line.found} and {line.random} % (n = {line.n})"
    says("README.md", f"by the gradient rule without latency {own['found']} %, random networks of its cost {own['random']} % (n = {own['n']}); {every}",
         f"by {100 * test['mean']:.2f} points with three seeds (p {test['p']:.3f}, not corrected for four tests)", f"| {rows.seconds.sum() / 2 / 60 / found.seed.nunique():.0f} min a seed |")
    above = (found.found > found.randoms.map(max)).groupby([found.rule, found.cost]).all()
    low = found.groupby(["rule", "cost"])[["found", "random"]].apply(lambda pairs: cifar10_tree_rows.difference(pairs)["low"])
    assert above[above].index.tolist() == low[low > 0].index.tolist() == [("two_path", "none")]
    says("docs/measurements.md", f"the only one that excludes 0: {100 * test['mean']:.2f} points, p {test['p']:.3f}")
    says("09", f"by {100 * test['mean']:.1f} points with three seeds")
    assert round(1 - (1 - test["p"]) ** 4, 1) == 0.1, "among four such tests in one case of ten"
    aimed = found[found.cost == "ms"].price / about["setting"]["target_ms"]
    assert [round(100 * (own.random_price / own.price).mean() - 100) for _, own in found[found.cost == "ms"].groupby("rule")] == [4, 4]
    here, paper_scale = cifar10_tree_rows.scale_here(about), cifar10_tree_rows.scale_of(pl.presets.experiment("paper"), 45_000, 5_000)
    ratio = {what: paper_scale[f"images in {what}"] / here[f"images in {what}"] for what in ("weight steps of a search", "a training")}
    search, training = cifar10_tree_rows.hours_of_table_1(about, rows)
    says("docs/measurements.md", f"with {found.seed.nunique()} seeds:", f"take {100 * aimed.min():.0f} to {100 * aimed.max():.0f} % of the target",
         f"{ratio['weight steps of a search']:.0f} times as many images in a search and {ratio['a training']:.0f} times as many in a training",
         f"{cifar10_tree_rows.RELEASED['macs'] / rows[rows.role == 'found'].macs.mean():.0f} times the MACs", f"about {search:,.0f} hours of search and {training:,.0f} of training")


def test_the_benchmark_in_words():
    bench = json.loads((DATA / "results" / "bench.json").read_text())
    parts, searches, steps = bench["components"], bench["search_cost"], bench["step_cost"]
    fifth, every = searches["α step every 5th"], searches["α step every one"]
    times = {space: {kind: ratio["time"] for kind, ratio in steps[space]["of a plain step"].items()} for space in ("tree", "chain", "mobile")}
    share = {kind: {name: 100 * value for name, value in parts[kind]["share"].items()} for kind in ("weight", "two_path")}
    assert all(bar["met"] for bar in bench["bars"].values()) and len(bench["bars"]) == 6
    says("docs/measurements.md", f"`make bench`, {bench['bars']['seconds of the quick form']['value']:.0f} s",
         f"takes **{fifth['search / training']:.2f}** times", f"median of {searches['rounds']}: {', '.join(f'{x:.2f}' for x in fifth['each'])})",
         f"and {every['search / training']:.2f} times with one", f"derived one: {fifth['over MACs']:.2f} and {every['over MACs']:.2f}.",
         f"forward takes {share['weight']['forward']:.0f} %, backward {share['weight']['backward']:.0f} %, the optimizer {share['weight']['optimizer']:.1f} %",
         f"the batch {share['weight']['reading']:.1f} %, drawing paths {share['weight']['draw']:.1f} %",
         f"forward {share['two_path']['forward']:.0f} %, backward with the probes {share['two_path']['backward']:.0f} %",
         f"Adam {share['two_path']['optimizer']:.1f} %, the rescale {share['two_path']['rescale']:.1f} %",
         f"takes {times['mobile']['weight again']:.2f} plain steps instead of {times['mobile']['weight']:.2f}, an α step "
         f"{times['mobile']['two_path again']:.2f} instead of {times['mobile']['two_path']:.2f}",
         f"takes {times['tree']['two_path']:.2f} plain steps on the tree", f"{times['chain']['two_path']:.2f} on the chain and {times['mobile']['two_path']:.2f} on the mobile space")


def test_the_table_of_cifar10_and_the_estimators():
    truth = ground_truth.load("cifar10")
    sd, setting = ground_truth.seed_sd(truth), ground_truth.BY_NAME["cifar10"]
    tied = sum(ground_truth.rank(truth, ground_truth.network(setting.space, code))["tied"] for code in truth.index)
    says("docs/measurements.md", f"all {len(truth)} distinct networks of another", f"sd between seeds is {100 * sd:.2f} points",
         f"{(truth['mean'] >= truth['mean'].max() - 2 * sd).sum()} networks are within two sd of the best of all, {tied} within two sd")
    frame = pd.read_csv(DATA / "results" / "estimators_cifar10.csv", comment="#")
    medians = frame[frame.weights == "searched"].groupby(["rule", "alpha"])[["cosine", "bias", "variance"]].median()
    for rule in frame.rule.unique():
        cells = [medians.loc[rule, alpha] for alpha in frame.alpha.unique()]
        says("docs/measurements.md", f"| `{rule}` | " + " | ".join(f"{c.cosine:.3f} / {c.bias:.2f} / {c.variance:.2f}" for c in cells) + " |")


def test_the_table_of_notebooks_is_complete():
    rows = dict(re.findall(r"^\| \[(\d\d) [^]]*\]\(notebooks/\d\d_\w+\.ipynb\) \| .*? \| (.*?) \|$", text("README.md"), flags=re.M))
    assert set(rows) == COURSE
    says("README.md", "eleven notebooks")
    if all("…" in runtime for runtime in rows.values()):
        pytest.skip("runtimes are not filled in yet")
    empty = sorted(number for number, runtime in rows.items() if "…" in runtime)
    assert not empty, f"the README has no runtime of notebooks {', '.join(empty)}"
    for number, runtime in rows.items():
        header = re.search(r"^\| `?quick`? \|.*\| *(.*?) *\|$", course(number).cells[0].source, flags=re.M)[1]
        assert runtime in header, f"notebook {number}: the README says {runtime}, its header {header}"
    timed = pd.read_csv(DATA / "results" / "notebook_seconds.csv").set_index("notebook").seconds
    for number, runtime in rows.items():
        seconds, unit = re.match(r"([\d.]+) (s|min)", runtime).groups()
        measured = timed[NOTEBOOKS[number].stem]
        assert abs(float(seconds) * {"s": 1, "min": 60}[unit] - measured) <= 3, f"notebook {number}: {runtime}, and data/results has {measured} s"


def test_no_other_place_is_left_to_be_filled_in():
    for page in PAGES:
        assert not re.search(r"… (s|min)\b|TODO|XXX", re.sub(r"^\| \[\d\d .*$", "", text(page), flags=re.M)), page


# -- links -------------------------------------------------------------------------------------------------------------


def anchors(path):
    """GitHub's anchors of the headings of a Markdown file."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_are_relative_and_lead_somewhere(page):
    broken, coming = [], []
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", text(page), flags=re.M | re.S)):
        file, _, anchor = target.partition("#")
        path = ((ROOT / page).parent / file).resolve() if file else ROOT / page
        number = path.name[:2]
        if re.match(r"https://(colab|mybinder)", target):  # what make badges wrote
            continue
        if re.match(r"[a-z]+:|/", target) or not path.is_relative_to(ROOT):
            broken.append(target)
        elif not path.exists():
            unfinished = COURSE - set(NOTEBOOKS)
            (coming if number in unfinished or (unfinished and path.name == "solutions") else broken).append(target)
        elif anchor and anchor not in anchors(path):
            broken.append(target)
    assert not broken, f"{page}: {broken}"
    if coming:
        pytest.skip(f"not there yet: {', '.join(sorted(set(coming)))}")


SECTION = re.compile(r"\[(\d\d)\]\(\S+?\.ipynb\), ((?:\*[^*]+\*(?:, | and )?)+)")


def test_teaching_names_sections_that_are_there():
    named = {(number, section) for number, sections in SECTION.findall(text("notebooks/TEACHING.md")) for section in re.findall(r"\*([^*]+)\*", sections)}
    assert len(named) > 20
    gone = sorted(f"{number}: {section}" for number, section in named if number in NOTEBOOKS and not any(
        heading.startswith(section) for c in course(number).cells for heading in re.findall(r"^## (.+)$", c.source, flags=re.M)))
    assert not gone, f"no such section: {gone}"


def test_teaching_names_exercises_that_are_there():
    named = set(re.findall(r"\b(\d\d)\.(\d)\b", re.sub(r"\d+\.\d+ (ms|nats|times)|p = [\d.]+ against [\d.]+", "", "\n".join(
        line for line in text("notebooks/TEACHING.md").splitlines() if re.search(r"xercise|Homework", line)))))
    assert {"02", "03", "05"} <= {number for number, _ in named}
    for number, exercise in named & {(n, e) for n, e in named if n in NOTEBOOKS}:
        assert any(f"**{exercise}.**" in c.source for c in course(number).cells), f"notebook {number} has no exercise {exercise}"


def test_right_answers_can_be_counted(tmp_path):
    command = re.search(r"grep -c .*", text("notebooks/TEACHING.md"))[0]
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("checks.…", outputs=[
        nbformat.v4.new_output("stream", text="decisions: right\nα: right\n"), nbformat.v4.new_output("stream", text="shift: the sign is wrong\n"),
        nbformat.v4.new_output("display_data", {"text/html": "<style>\n  text-align: right;\n</style>"})])])
    run = subprocess.run(command, shell=True, input=nbformat.writes(page), capture_output=True, text=True)
    assert run.stdout == "2\n"


def test_every_plan_fills_90_minutes():
    plans = [re.findall(r"^\| (\d+)–(\d+) \|", table, flags=re.M) for table in text("notebooks/TEACHING.md").split("| min |")[1:]]
    assert len(plans) == 5
    for plan in plans:
        starts, ends = ([int(minute) for minute in of] for of in zip(*plan))
        assert starts == [0, *ends[:-1]] and ends[-1] == 90 and all(start < end for start, end in zip(starts, ends)), plan


def test_teaching_speaks_of_every_notebook():
    assert {number for number in COURSE if f"[{number}](" in text("notebooks/TEACHING.md")} == COURSE


# -- commands and code -------------------------------------------------------------------------------------------------


def commands(page):
    """Command lines in fenced blocks without a language, and in `code` in the text, variables filled in and comments dropped."""
    lines = [line for block in blocks(page) for line in block.replace("\\\n", " ").splitlines()] + re.findall(r"`([^`\n]+)`", text(page))
    lines = [line.split(" #")[0].strip() for line in lines]
    return [line.replace("$DATA", "/path/to/images") for line in lines if re.match(r"(\S*/)?(make|python|torchrun|papermill) ", line) and "…" not in line]


def parser_of(module):
    """The parser of `python -m module`, which may be a package."""
    found = importlib.import_module(module)
    return (importlib.import_module(f"{module}.__main__") if hasattr(found, "__path__") else found).parser()


@pytest.mark.parametrize("page", PAGES)
def test_commands_have_the_flags_that_they_name(page, monkeypatch):
    monkeypatch.setattr(argparse.ArgumentParser, "print_help", lambda *_: None)
    for command in commands(page):
        words = shlex.split(command)
        if words[0] == "make":
            check_make(words[1:], command)
        elif words[0].endswith("papermill"):
            check_papermill(words[1:], command)
        elif "-m" in words and words[words.index("-m") + 1].startswith("proxyless_lite"):
            module, arguments = words[words.index("-m") + 1], words[words.index("-m") + 2:]
            try:
                parser_of(module).parse_args(arguments)
            except SystemExit as exit:
                assert exit.code == 0, f"{page}: {command}"
        elif "-m" not in words and words[0].endswith("python"):
            assert (ROOT / words[1]).exists(), f"{page}: {command}"


def check_make(words, command):
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), flags=re.M))
    settings = set(re.findall(r"\$\((?:notdir )?([A-Z]+)\)", (ROOT / "Makefile").read_text()))
    for word in words:
        assert word.partition("=")[0] in (settings if "=" in word else targets), command


def check_papermill(words, command):
    parameters = next(c for c in course(Path(words[0]).name[:2]).cells if "parameters" in c.metadata.get("tags", []))
    for flag, name in zip(words, words[1:]):
        if flag == "-p":
            assert re.search(rf"^{name} = ", parameters.source, flags=re.M), command


def test_there_are_commands_to_check():
    assert len(commands("README.md")) > 6 and len(commands("docs/gpu.md")) > 4


@pytest.mark.parametrize("page", sorted(EXECUTED))
def test_code_runs_as_it_stands(page, capsys):
    scope = {}
    found = blocks(page, "python")
    assert found
    for block in found:
        assert block.count("\n") <= 30, "30 lines at most"
        exec(compile(block, page, "exec"), scope)
    out = capsys.readouterr().out
    if page == "CONTRIBUTING.md":
        assert "36 networks" in out and isinstance(scope["result"].architecture, pl.Architecture)
    else:
        assert "465 million MACs, 14.0 ms" in out and "439 million MACs, 16.5 ms" in out
        assert scope["net"].best_paths() == [0] * 4 and scope["notebook"] is notebook
        says(page, f"this is {scope['net'].entropy():.2f}", f"p = {scope['net'].probability_matrix()[0, 0]:.2f} against {scope['net'].probability_matrix()[0, 1]:.2f}")


def test_python_blocks_of_the_docs_are_code_and_name_what_is_there():
    for block in blocks("docs/python.md", "python"):
        compile(block, "docs/python.md", "exec")
        for name in set(re.findall(r"\bpl((?:\.\w+)+)", block)):
            thing = pl
            for part in name.strip(".").split("."):
                assert hasattr(thing, part), f"docs/python.md: pl{name}"
                thing = getattr(thing, part)

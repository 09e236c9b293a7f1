"""Numbers in the notebooks' prose that no cell asserts, and what their statements rest on: computed again from package and tables."""

import ast
import json
import math
import re
from functools import cache
from operator import attrgetter

import excerpts
import hygiene
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from pages import DATA, NOTEBOOKS, course, has_numbers, printed, printed_in_the_paper, text
from scipy.stats import chi2, chi2_contingency, chisquare
from torchvision import models

import proxyless_lite as pl
from proxyless_lite import presets
from proxyless_lite.course import paper, plots, reproduction

SPACE = pl.spaces.mobile()
EDGES = SPACE.edges()


def assigned(number, name):
    """The first value that a notebook's code gives to a name; of a DataFrame or a Series its first argument."""
    for cell in course(number).cells:
        if cell.cell_type == "code":
            for node in ast.parse(cell.source).body:
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
                    return ast.literal_eval(node.value.args[0] if isinstance(node.value, ast.Call) else node.value)
    raise AssertionError(f"notebook {number} does not assign {name}")


def computed(number, name):
    """What `name` is after the cell that first assigns it; runs the statements on which that cell depends."""
    page = hygiene.Page(NOTEBOOKS[number])
    cell = next(i for i, tree in page.trees for node in tree.body if isinstance(node, ast.Assign) and name in excerpts.changes(node))
    scope = {}
    for part in excerpts.excerpt(page, cell).cells:
        exec("\n".join(line for line in part.source.splitlines() if "notebook.setup" not in line), scope)
    return scope[name]


@cache
def table(name):
    return pl.latency.Table.load(DATA / "latency" / f"{name}.csv")


@cache
def measured(clock):
    return pd.read_csv(DATA / "results" / f"zoo_{clock}.csv", comment="#", index_col="network").ms


@cache
def prices():
    """MACs of each candidate of each edge of the mobile space, and of its fixed part."""
    costs = pl.costs.costs(SPACE, "macs")
    return [row[:len(edge.candidates)].numpy() for row, edge in zip(costs.matrix, EDGES)], costs.fixed


# -- what a page needs -------------------------------------------------------------------------------------------------


def test_notebook_00_and_the_headers_name_the_same_pages_to_read_before():
    needs = dict(re.findall(r"^\| \[?(\d\d)[^|]*\| [^|]+\| ([\d, –]+) \|$", text("00"), flags=re.M))
    assert set(needs) == set(NOTEBOOKS)
    for number in sorted(set(NOTEBOOKS) - {"00"}):
        before = re.search(r"\*\*Before\*\*\s(.+?)(?=\n\n|\Z)", course(number).cells[0].source, flags=re.S)[1]
        assert re.findall(r"\d\d", needs[number]) == re.findall(r"\b\d\d\b(?!_)", before), f"notebook {number}: {before}"


def test_the_map_of_notebook_00_names_what_there_is():
    rows = re.findall(r"^\| ([^|]+) \| (`pl\.[^|]+) \| ([\d, –]+) \|$", text("00"), flags=re.M)
    assert len(rows) >= 10
    for part, names, numbers in rows:
        for name in re.findall(r"`pl\.([\w.]+)`", names):
            attrgetter(name)(pl)                                      # AttributeError if there is no such thing
        assert set(re.findall(r"\d\d", numbers)) <= set(NOTEBOOKS), part


# -- 00 ----------------------------------------------------------------------------------------------------------------


def test_the_three_networks_of_notebook_00():
    top1 = {"ResNet-34": printed_in_the_paper("Table 3", "ResNet-34", "Top-1"), "MobileNetV2 1.4": printed_in_the_paper("Figure 4", "MobileNetV2 1.4", "Top-1"),
            "found by ProxylessNAS": printed_in_the_paper("Figure 4", "Proxyless (mobile)", "Top-1")}
    shown = re.findall(r"^(.+?) +([\d.]+) % top-1 \(paper\) +([\d.]+) ms \(here\)$", printed("00"), flags=re.M)
    assert {name: accuracy for name, accuracy, _ in shown} == top1
    resnet, v2, found = (float(ms) for *_, ms in shown)
    assert found < v2 < resnet
    ratios = [measured(clock)["resnet_34"] / measured(clock)["proxyless_mobile"] for clock in ("cpu", "onnxruntime")]
    has_numbers("00", *(f"{ratio:.0f}" for ratio in ratios), f"{pl.spaces.mobile().size() / 1e17:.1f}", len(EDGES))


# -- numbers that are typed into code ----------------------------------------------------------------------------------


def test_latencies_typed_into_notebook_08_are_the_papers():
    rows = [f"Proxyless ({device})" for device in ("GPU", "CPU", "mobile")]
    assert assigned("08", "table4") == {f"{label}, paper": [float(printed_in_the_paper("Table 4", row, column)) for row in rows] for label, column in (
        ("GPU", "GPU latency"), ("CPU", "CPU latency"), ("phone", "Mobile latency"))}
    numbers = paper.numbers()
    table3 = numbers[numbers.source.eq("Table 3") & numbers.column.eq("GPU latency") & numbers.network.ne("")].set_index("network").value
    assert assigned("08", "table3") == table3.to_dict()


def test_points_of_figure_4_typed_into_notebook_07_are_the_papers():
    numbers = paper.numbers()
    points = numbers[numbers.source.eq("Figure 4")].pivot(index="row", columns="column", values="value").sort_values("Mobile latency")
    for name, (ms, top1) in assigned("07", "paper").items():
        own = points[points.index.str.startswith(name.split("NAS")[0].split(" ")[0])]
        assert list(ms) == own["Mobile latency"].tolist() and [100 * a for a in top1] == pytest.approx(own["Top-1"].tolist())
    has_numbers("07", *(printed_in_the_paper("Figure 4", row, "Mobile latency") for row in ("MobileNetV2 1.4", "Proxyless (mobile)")), "1.83", "2.6")


# -- 01 ----------------------------------------------------------------------------------------------------------------


def test_the_distribution_of_macs():
    rows, fixed = prices()
    has_numbers("01", *(f"{(fixed + sum(end(r) for r in rows)) / 1e6:.0f}" for end in (np.min, np.max)),
                *(f"{10 * round(macs / 1e7)}" for macs in (math.sqrt(sum(r.var() for r in rows)), fixed + sum(r.mean() for r in rows))))
    unit = math.gcd(*(int(v) for row in rows for v in row))
    share = np.ones(1)                                                # of all networks, by MACs in this unit
    for row in (row.astype(int) // unit for row in rows):
        longer = np.zeros(len(share) + row.max())
        for price in row:
            longer[price:price + len(share)] += share / len(row)
        share = longer
    low, high = ((fixed + unit * np.searchsorted(np.cumsum(share), q)) / 1e6 for q in (0.025, 0.975))
    has_numbers("01", f"{low:.0f}", f"{high:.0f}", unit)


def test_the_first_stage_weighs_as_much_as_two_further_back():
    rows, _ = prices()
    dearest = [row.max() for row in rows]
    assert 1.8 < np.mean(dearest[:4]) / np.mean(dearest[4:]) < 2.2
    ms = pl.costs.costs(SPACE, table("mobile_cpu_table_a"))
    small, large = ([k] * 21 for k in (0, 5))
    macs = pl.costs.costs(SPACE, "macs")
    assert macs.cost_of(large) / macs.cost_of(small) > 2 and 1.9 < ms.cost_of(large) / ms.cost_of(small) < 2, "more than twice the MACs, nearly twice the time"
    assert macs.cost_of(small) == macs.fixed + sum(row[row > 0].min() for row in rows), "as few as without leaving a block out"


# -- 04 ----------------------------------------------------------------------------------------------------------------


def test_expansion_6_takes_less_than_twice_as_long_as_expansion_3():
    """The answer to a prompt of notebook 04, for its edge: 80 to 80 channels at 14 pixels."""
    edge = EDGES[9]
    ratios = lambda name: [table(name)[edge.block(f"MB6 {k}x{k}")] / table(name)[edge.block(f"MB3 {k}x{k}")] for k in (3, 5, 7)]
    torch_, onnx = ratios("mobile_cpu_table_a") + ratios("mobile_cpu_table_b"), ratios("mobile_onnxruntime_table")
    assert max(onnx) < 2
    has_numbers("04", *(f"{end(ratios):.1f}" for ratios in (torch_, onnx) for end in (min, max)))


def test_the_pixel_1_in_notebook_04():
    ms = pd.read_csv(DATA / "results" / "pixel1.csv", comment="#", index_col="network").ms
    wide, phone = (100 * (ms[name] / float(printed_in_the_paper("Figure 4", row, "Mobile latency")) - 1) for name, row in (
        ("proxyless_mobile_14", "Proxyless (mobile) 1.4"), ("proxyless_mobile", "Proxyless (mobile)")))
    assert 0 < wide < 3 and int(phone) == 9
    has_numbers("04", "147")


# -- 05 ----------------------------------------------------------------------------------------------------------------


def test_the_price_and_the_budget_of_notebook_05_choose_two_networks():
    trained = pd.read_csv(DATA / "results" / "latency_sweep.csv", comment="#", dtype={"network": str}).dropna(subset="accuracy")
    price, budget = map(float, re.search(r"price=([\d.]+), budget=([\d.]+)", "\n".join(c.source for c in course("05").cells)).groups())
    assert plots.preferred(trained, price).name != plots.best_within(trained, budget).name
    has_numbers("05", f"{budget:g}", f"{price:g}")


# -- 06 ----------------------------------------------------------------------------------------------------------------


def test_images_and_steps_of_the_released_search():
    config = presets.IMAGENET_SEARCH
    images, epochs = presets.mobile("paper").all_images - 50_000, config.warmup_epochs + config.epochs
    has_numbers("06", epochs, config.warmup_epochs, config.epochs, f"{images / 1e6:.2f}", f"{epochs * images / 1e6:.0f}",
                f"{epochs * images / (200 * 3600):.0f}", 1000 * round(config.warmup_epochs * images / config.batch_size / 1000))


def test_the_stored_searches_in_notebook_06_are_no_evidence():
    """Gain over the mean of the random networks with seed 0, their range, and in how many of 16 cases two blind draws rank as well."""
    runs = pd.read_csv(DATA / "results" / "mobile_lesson.csv", comment="#").pivot(index="seed", columns="network", values="test_accuracy")
    found, random = 100 * runs["found"], 100 * runs.drop(columns="found")
    ranks = 1 + (random.T > found).sum()
    assert ranks.tolist() == [2, 1] and (random.max(axis=1) - random.min(axis=1)).idxmax() == 0
    as_good = sum(a + b <= ranks.sum() for a in range(1, 5) for b in range(1, 5))
    has_numbers("06", f"{found[0] - random.loc[0].mean():.1f}", f"{random.loc[0].max() - random.loc[0].min():.1f}", int(as_good), 4 * 4)
    config = presets.mobile("lesson")
    has_numbers("06", config.search.warmup_epochs, config.search.epochs, config.train.epochs, config.images, f"{100 * config.share:.0f}", 97)


def test_where_the_phones_network_is_large():
    """The takeaway of the figure of proxyless_mobile in notebook 06."""
    network = pl.zoo.proxyless_mobile()
    kept = [(edge, choice) for edge, choice in zip(network.space.edges(), network.choices)]
    assert {choice[4] for edge, choice in kept if edge.stride == 2} == {"5", "7"}
    assert {choice[2] for edge, choice in kept if edge.name.endswith(".0") and edge.input_size // edge.stride <= 14} == {"6"}


# -- 03 ----------------------------------------------------------------------------------------------------------------


def test_networks_of_any_cost_in_notebook_03():
    rows = re.findall(r"^\d +(found|any cost \d) +\d+ +(\d+) +([\d.]+) *$", printed("03"), flags=re.M)
    (_, macs, best), *others = [(name, int(macs), float(top1)) for name, macs, top1 in rows]
    times, mean = [other / macs for _, other, _ in others], np.mean([top1 for *_, top1 in others])
    has_numbers("03", f"{min(times):.1f}", f"{max(times):.1f}", f"{mean:.1f}")
    assert len(others) == 3 and abs(mean - best) < 100 * math.sqrt(0.985 * 0.015 / 360), "no difference beyond the standard error of exercise 3"


# -- 07 ----------------------------------------------------------------------------------------------------------------


def test_widths_of_notebook_07():
    small, *_, large = presets.mobile("quick").multipliers
    costs = [pl.Architecture(pl.spaces.mobile(width, 10, 64), pl.zoo.proxyless_mobile().choices).macs() for width in (small, large)]
    has_numbers("07", f"{large / small:.1f}")
    assert (round(costs[1] / costs[0]), round((large / small)**2)) == (3, 7)
    wide, phone = pl.zoo.proxyless_mobile_14().space.edges(), pl.zoo.proxyless_mobile().space.edges()
    has_numbers("07", 192, wide[-2].out_channels, pl.spaces.mobile(1.4).edges()[-2].out_channels, phone[0].out_channels, wide[0].out_channels,
                models._utils._make_divisible(1.4 * phone[0].out_channels, 8))
    with torch.device("meta"):
        assert {models.mobilenet_v2(width_mult=w).last_channel for w in (0.15, 0.4, 1.0)} == {1280}


def test_the_gaps_of_notebook_07_are_no_merit_of_the_search():
    """The paper's network is above MobileNetV2 at every width; at the smallest, within the spread over seeds and level with a random network."""
    rows = re.findall(r"^\d +(proxyless_mobile|MobileNetV2) +([\d.]+) +\d+ +\d+ +([\d.]+)", printed("07"), flags=re.M)
    top1 = {(name, width): float(accuracy) for name, width, accuracy in rows}
    gaps = [top1["proxyless_mobile", width] - top1["MobileNetV2", width] for name, width in top1 if name == "MobileNetV2"]
    assert len(gaps) == 3 and min(gaps) > 0 and min(gaps) == gaps[0]
    page = nbformat.read(NOTEBOOKS["07"].parent / "solutions" / NOTEBOOKS["07"].name, 4)
    told = "".join(o.get("text", "") for c in page.cells if c.cell_type == "code" for o in c.outputs)
    found = {name: re.search(rf"^{name} +([\d.]+) ± ([\d.]+) %, each ([\d.]+), ([\d.]+), ([\d.]+)$", told, flags=re.M).groups() for name in ("proxyless_mobile", "random")}
    (mean, sd, *seeds), (other, other_sd, *_) = (map(float, found[name]) for name in ("proxyless_mobile", "random"))
    assert seeds[0] == round(top1["proxyless_mobile", "0.15"], 1), "the same training as on the page"
    assert abs(mean - other) < min(sd, other_sd) and min(gaps) < max(seeds) - min(seeds)
    has_numbers("07", f"{min(gaps):.0f}", f"{max(gaps):.0f}", *(f"{m} ± {s}" for m, s, *_ in found.values()))


# -- 08 ----------------------------------------------------------------------------------------------------------------


def test_macs_of_the_three_networks_and_of_resnet():
    gpu, cpu, phone = (getattr(pl.zoo, f"proxyless_{name}")().macs() for name in ("gpu", "cpu", "mobile"))
    has_numbers("08", *(f"{macs / 1e6:.0f}" for macs in (gpu, cpu, phone)))
    assert all(round(1 - phone / other, 1) == 0.3 for other in (gpu, cpu))
    with torch.device("meta"):
        resnet, v2 = (pl.architecture.count_macs(pl.zoo.baseline(name).eval(), torch.empty(1, 3, 224, 224)) for name in ("resnet_34", "mobilenet_v2_1.0"))
    assert round(resnet / v2) == 12 and round(resnet / phone) == 11
    ratios = [measured(clock)["resnet_34"] / measured(clock)["mobilenet_v2_1.0"] for clock in ("cpu", "onnxruntime")]
    assert [round(r) for r in ratios] == [4, 7] and round(8.0 / 6.1, 1) == 1.3
    five = ["proxyless_gpu", "mobilenet_v2_1.0", "mnasnet_1.0", "shufflenet_v2_1.5", "resnet_34"]
    assert all(measured(clock)[five].sort_values().index[-2] == "proxyless_gpu" for clock in ("cpu", "onnxruntime")), "the second slowest here"


def test_milliseconds_a_mac():
    networks = {"GPU": "proxyless_gpu", "CPU": "proxyless_cpu", "mobile": "proxyless_mobile"}
    macs = pd.Series({name: getattr(pl.zoo, zoo)().macs() for name, zoo in networks.items()})
    printed = pd.Series({name: float(printed_in_the_paper("Table 4", f"Proxyless ({name})", "CPU latency")) for name in networks})
    assert (printed / macs).idxmin() == "CPU"
    for clock in ("cpu", "onnxruntime"):
        assert (measured(clock)[list(networks.values())].set_axis(list(networks)) / macs).idxmin() == "GPU"
    has_numbers("08", f"{printed.min():.0f}", f"{printed.max():.0f}")
    assert 8 < printed.min() / measured("cpu")["proxyless_cpu"] and printed.max() / measured("cpu")["proxyless_gpu"] < 15


def test_networks_of_one_runtime_in_another():
    slower = computed("08", "slower")
    assert round(math.exp(slower.loc["for onnxruntime", "in litert"] / 100)) == 3, "three times as long"
    has_numbers("08", f"{slower.loc['for litert', 'in onnxruntime']:.0f}")


def test_orders_of_two_runtimes():
    tau = computed("08", "tau")
    a, b, first, second = tau.columns[:4]
    between = tau.loc[[a, b], [first, second]].to_numpy()
    has_numbers("08", *(f"{value:.2f}" for value in (tau.loc[a, b], tau.loc[first, second], between.min(), between.max())))


def test_specialised_for_a_clock():
    over = computed("08", "over")
    a, b, first, second = over.columns[:4]
    macs = over["million MACs"]
    for one, other in ((a, b), (first, second)):
        assert (abs(over.loc[f"for {one}"] / over.loc[f"for {other}"] - 1) < 0.0105).all(), "about one percent, on every clock"
    assert (over.loc[[f"for {a}", f"for {b}"], [first, second]].round(2) == 1.05).to_numpy().all()
    assert (over.loc[[f"for {first}", f"for {second}"], [a, b]] <= 1).to_numpy().all() and round(100 * (1 - macs.iloc[2:].mean() / macs.iloc[:2].mean())) == 4


# -- 09 ----------------------------------------------------------------------------------------------------------------


def test_how_much_of_the_paper_notebook_09_can_say_something_about():
    provenance = pd.read_csv(DATA / "results" / "paper_comparison.csv", keep_default_na=False).provenance
    shares = [provenance.isin(words).mean() for words in (["released", "recomputed", "measured here"], ["paper"], ["not reproduced"])]
    assert len(provenance) == 130 and all(0.3 < share < 0.37 for share in shares), "about a third each"
    has_numbers("09", len(provenance))


def test_latencies_of_notebook_09_are_off_by_what_it_says():
    rows = pd.read_csv(DATA / "results" / "paper_comparison.csv").query("column == 'Mobile latency' and unit == 'ms' and ours == ours")
    off = (100 * (rows.ours / rows.value - 1)).groupby(rows.source)
    assert (round(off.min()["Table 2"]), round(off.max()["Table 2"])) == (5, 15) and (round(off.min()["Figure 4"]), round(off.max()["Figure 4"])) == (2, 21)
    stored = pd.read_csv(DATA / "results" / "summary.csv", index_col="source")[list(reproduction.COLUMNS)]
    assert {of: tuple(words) for of, words in stored.iterrows()} == reproduction.SUMMARY, "run make figures"
    told = {of: " ".join(words) for of, words in reproduction.SUMMARY.items()}
    assert all(number in told[of] for of, number in (("Table 2", "5 to 15 %"), ("Figure 4", "2 to 21 %"), ("Figure 4", "1.84"), ("Figure 4", "1.7"), ("Figure 5", "0.26")))
    has_numbers("09", "82.9", "76", "79", "1.83", "1.84")
    ms, top1, google = (pd.read_csv(DATA / path, comment="#", index_col="network")[column] for path, column in (
        ("results/pixel1.csv", "ms"), ("paper/released.csv", "top1"), ("paper/released.csv", "pixel1_ms")))
    slow = 100 * (ms / google - 1).dropna()
    has_numbers("09", f"{slow.min():.0f}", f"{slow.max():.0f}")
    assert len(slow) == 6
    wide = ms[ms.index.str.startswith("mobilenet_v2")].sort_values()
    there = np.interp(top1["proxyless_mobile"], top1[wide.index], wide)           # ms of a MobileNetV2 as accurate as Proxyless (mobile)
    has_numbers("09", f"{top1['mobilenet_v2_1.4']:.1f}", f"{there / ms['proxyless_mobile']:.1f}")


def test_figure_1_of_notebook_09():
    bars = pd.read_csv(DATA / "results" / "figure1.csv").set_index(["row", "quantity"])
    ours, ratio = bars.ours, bars.ratio
    assert round(6 * (ours["Proxyless", "Search cost"] - 1), 1) == 1 and ours["Proxyless", "Memory"] == 1, "a sixth more, no more memory"
    assert (round(ours["DARTS & One-Shot", "Search cost"]), round(ours["DARTS & One-Shot", "Memory"])) == (7, 6), "seven and six times"
    assert round(ratio["DARTS & One-Shot", "Memory"]) == 9 and 9 <= ratio["DARTS & One-Shot", "Search cost"] < 10
    has_numbers("09", f"{ratio['Proxyless', 'Search cost']:g}", f"{bars.paper['Proxyless', 'Search cost']:g}",
                printed_in_the_paper("Table 2", "Proxyless-R (mobile)", "Search cost"))


def test_the_latency_model_in_notebook_09():
    stored = pd.read_csv(DATA / "results" / "paper_comparison.csv").query("network == 'latency_model' and source == 'Figure 5'")
    test = json.loads((DATA / "results" / "bench.json").read_text())["latency_model"]["cpu"]["test"]  # computed again by test_readme.py
    has_numbers("09", f"{stored.ours.iloc[0]:.2f}", f"{100 * test['rmse/mean']:.2f}", f"{stored.value.iloc[0]:g}")
    random_network = 113.98812882557645  # ms; tests/test_latency_table.py computes it from the released table
    has_numbers("09", f"{random_network:.0f}", f"{100 * 0.75 / random_network:.1f}")


def test_swapping_a_pair_moves_tau():
    networks = pd.read_csv(DATA / "results" / "ranks.csv").set_index(["paper", "ours"]).networks
    few, many = networks["GPU latency", "MACs"], networks["Mobile latency", "MACs"]
    assert (few, many) == (7, 8)
    has_numbers("09", f"{2 / math.comb(many, 2):.2f}", f"{2 / math.comb(few, 2):.1f}")


def test_operations_of_the_cifar_network_are_what_a_blind_draw_gives():
    """χ² of the counts, one count alone, what such a test would find, and positions, as notebook 09 says."""
    choices = np.array(pl.zoo.proxyless_cifar().choices)
    names, counts = np.unique(choices, return_counts=True)
    assert all(set(edge.candidates) == set(names) for edge in pl.zoo.proxyless_cifar().space.edges())
    whole, fair = chisquare(counts), len(choices) / len(names)
    inside = abs(counts - fair) <= 2 * math.sqrt(fair * (1 - 1 / len(names)))
    assert inside.sum() == 6 and names[~inside] == ["DW 7x7"]
    generator = np.random.default_rng(0)
    far = (abs(generator.multinomial(len(choices), [1 / 7] * 7, 100_000) - fair).max(1) >= abs(counts - fair).max()).mean()
    preferred = generator.multinomial(len(choices), [1.35 / 7, *[(1 - 0.35 / 6) / 7] * 6], 100_000)
    assert (((preferred - fair)**2 / fair).sum(1) > chi2.isf(0.05, 6)).mean() == pytest.approx(0.76, abs=0.01), "in three of four cases"
    edges = np.arange(len(choices))
    groups = (edges % 12, *(edges * parts // len(choices) for parts in (3, 6, 18)))
    positions = [chi2_contingency([[(choices[group == g] == name).sum() for name in names] for g in set(group)]).pvalue for group in groups]
    has_numbers("09", f"{whole.statistic:.1f}", *(f"{p:.2f}" for p in (whole.pvalue, *positions)), f"{100 * far:.0f}")


def test_networks_drawn_in_notebook_09():
    choices = pl.zoo.proxyless_cifar().choices
    times = sorted(map(choices.count, set(choices)))
    has_numbers("09", times[0], times[-1], len(choices))
    assert len({choices[i:i + 12] for i in range(0, len(choices), 12)}) == 54, "no two blocks are alike"
    phone, *others = (getattr(pl.zoo, f"proxyless_{name}")().macs() / 1e6 for name in ("mobile", "cpu", "gpu"))
    has_numbers("09", *(f"{macs:.0f}" for macs in (phone, *others)), pl.zoo.proxyless_cifar().params())
    ms = [float(printed_in_the_paper("Table 4", f"Proxyless ({device})", "CPU latency")) for device in ("GPU", "CPU", "mobile")]
    has_numbers("09", str(min(ms)), str(max(ms)))

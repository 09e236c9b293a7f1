"""The paper's numbers, each with its place there, and next to it ours, with its source.

    python -m proxyless_lite.course.paper proxyless_lite/tables/results/pixel1.csv  # predict the Pixel 1 latencies from the released table
"""

import math
import shlex
from pathlib import Path

import pandas as pd
import torch

from .. import latency, spaces, zoo
from ..architecture import Architecture, count_macs
from ..runtime.cli import OneLineParser, run
from ..runtime import TABLES, read_table, write_table
from ..spaces.mobile import STAGES, make_divisible

DATA = TABLES
PROVENANCE = ("paper", "released", "recomputed", "measured here", "not reproduced")
TIMED = {"CPU latency": "zoo_cpu.csv", "GPU latency": "zoo_cuda.csv"}  # column of the paper -> file, may be absent
NETWORKS = (*(name for name in zoo.RELEASED if name != "proxyless_cifar"), *zoo.BASELINES)  # all ImageNet networks that can be built


# -- the paper's -------------------------------------------------------------------------------------------------------


def numbers(folder=DATA / "paper"):
    """Every number of Tables 1–4, of Figures 1, 4 and 5, and of the text.

    A frame source, row, column, unit, printed, network, value. `network` is its name in the zoo, if it has one; "a / b" and
    "a - b" are a ratio and a difference. `printed` has the paper's digits, `value` is the same as a float.
    """
    files = [pd.read_csv(folder / f"{name}.csv", dtype=str, keep_default_na=False) for name in ("tables", "figures", "text")]
    found = pd.concat(files, ignore_index=True).rename(columns={"value": "printed"})
    return found.assign(value=found.printed.astype(float))


# -- ours --------------------------------------------------------------------------------------------------------------


def ours(measured=DATA / "results"):
    """What we can compare with the paper: a frame network, column, value, sd, provenance, how, in the paper's units.

    `measured` is the folder of latencies measured here. A prediction has a standard deviation `sd`, other values NaN.
    """
    return pd.concat([recomputed(), released(), timed(measured), pixel1_latencies()], ignore_index=True)


def frame(rows, provenance, how):
    """Rows (network, column, value) or (network, column, value, sd) as a frame like that of `ours`."""
    found = pd.DataFrame([(*row, math.nan)[:4] for row in rows], columns=["network", "column", "value", "sd"])
    return found.assign(provenance=provenance, how=how)


def recomputed():
    """Weights and multiply-adds (in millions) of every network of the zoo, exactly, from its structure."""
    rows = []
    for name in (*zoo.RELEASED, *zoo.BASELINES):
        params, macs = counts(name)
        rows += [(name, "Params", params / 1e6), (name, "MACs", macs / 1e6)]
    rows.append(("proxyless_cifar", "Decisions", len(zoo.proxyless_cifar().choices)))
    return frame(rows, "recomputed", "from the architecture")


def counts(name):
    """(params, MACs) of a network of the zoo."""
    if name in zoo.RELEASED:
        found = zoo.RELEASED[name]()
        return found.params(), found.macs()
    with torch.device("meta"):
        module, image = zoo.baseline(name).eval(), torch.empty(1, 3, 224, 224)
    return sum(p.numel() for p in module.parameters()), count_macs(module, image)


def released():
    """Accuracies of released weights, as published with them; not evaluated here."""
    table = pd.read_csv(DATA / "paper" / "released.csv")
    columns = lambda row: (("Top-1", row.top1), ("Top-5", row.top5), ("Test error", round(100 - row.top1, 3)))
    parts = [frame([(row.network, column, value)], "released", row.source) for row in table.itertuples() for column, value in columns(row) if value == value]
    return pd.concat(parts)


def timed(folder):
    """Latencies that we measured: the files of TIMED that are in `folder`."""
    parts = [frame([], "measured here", "")]
    for column, file in TIMED.items():
        if (path := Path(folder) / file).exists():
            table = read_table(path)
            metadata = table.attrs
            rows = [(row.network, column, row.ms) for row in table.itertuples()]
            parts.append(frame(rows, "measured here", f"{metadata['machine']['processor']}, {metadata['threads']} thread, "
                               f"batch {metadata['batch']}, torch {metadata['machine']['torch']}, {metadata['date']}"))
    return pd.concat(parts)


def time_all(path, device, networks=NETWORKS, **how):
    """Time networks of the zoo against each other on `device`, and write them for runtime.read_table."""
    latency.time_networks(networks, f"proxyless_lite.course.paper.time_all, device {device}", path, device=device, **how)


def pixel1_latencies():
    """Predictions for the Pixel 1, from the committed file that `predict_pixel1` made."""
    parts = [frame([(row.network, "Mobile latency", row.ms, row.sd)], "released",
                   f"prediction from the released Pixel 1 table; {row.missing} of {row.blocks} blocks not in it")
             for row in read_table(DATA / "results" / "pixel1.csv").itertuples()]
    return pd.concat(parts)


def predict_pixel1(table):
    """Latencies on the Pixel 1: rows of the released table, and predictions of a model fitted to it for missing ones.

    A frame network, ms, sd, blocks, missing: `sd` is the model's uncertainty, `missing` counts blocks not in the table.
    """
    model, rows = latency.Model().fit(table), []
    networks = {name: zoo.RELEASED[name]() for name in NETWORKS if name in zoo.RELEASED}
    networks |= {name: mobilenet_v2(float(name.split("_")[-1])) for name in zoo.BASELINES if name.startswith("mobilenet_v2")}
    for name, network in {**networks, "mnasnet_1.0": mnasnet()}.items():
        blocks = [b for b in network.space.blocks(network.choices) if b.operation != "Zero"]
        missing = [b for b in blocks if b not in table]
        sd = model.uncertainty(network) if missing else 0.0
        rows.append((name, sum(table[b] if b in table else model[b] for b in blocks), sd, len(blocks), len(missing)))
    return pd.DataFrame(rows, columns=["network", "ms", "sd", "blocks", "missing"])


def mobilenet_v2(width=1.0):
    """MobileNetV2 as an Architecture of the mobile space: MB6 3x3 everywhere, fewer blocks per stage, its own widths."""
    widths = [make_divisible(width * w) for w in (32, 16, 24, 32, 64, 96, 160, 320)]
    head = make_divisible(1280 * max(1, width))
    return in_stages((*widths, head), *(["MB6 3x3"] * depth for depth in (2, 3, 4, 3, 3, 1)))


def mnasnet():
    """MnasNet 1.0 (without squeeze and excitation, as in torchvision) as an Architecture of the mobile space."""
    return in_stages((32, 16, 24, 40, 80, 96, 192, 320, 1280),
                     ["MB3 3x3"] * 3, ["MB3 5x5"] * 3, ["MB6 5x5"] * 3, ["MB6 3x3"] * 2, ["MB6 5x5"] * 4, ["MB6 3x3"])


def in_stages(widths, *stages):
    """The Architecture of these widths whose stages have these blocks first, then none."""
    choices = [c for stage, (_, depth, _) in zip(stages, STAGES) for c in (*stage, *["Zero"] * (depth - len(stage)))]
    return Architecture(spaces.mobile(widths=widths), tuple(choices))


# -- side by side ------------------------------------------------------------------------------------------------------


def compare(ours, paper=None):
    """The paper's numbers (by default all) with ours next to them: columns ours, sd, provenance and how are added.

    Each number has one provenance. Numbers of others' networks are the *paper*'s alone. A value that we could have but have
    not, or a prediction more than two of its standard deviations off, is *not reproduced*.
    """
    paper = numbers() if paper is None else paper
    known = {(row.network, row.column): row for row in ours.itertuples()}
    printed = paper.drop_duplicates(["network", "column"]).set_index(["network", "column"]).value
    rows = [judged(number, relation(number, known, printed)) for number in paper.itertuples()]
    return paper.assign(**pd.DataFrame(rows, columns=["ours", "sd", "provenance", "how"], index=paper.index))


def relation(number, known, printed):
    """Our value of a number of the paper as (value, sd, provenance, how), or None.

    `known` maps (network, column) to rows of ours, `printed` to the paper's values, which stand in for unknown networks in a
    relation.
    """
    left, sign, right = (number.network.partition(" / ") if "/" in number.network else number.network.partition(" - "))
    parts = [known.get((name, number.column)) for name in (left, right) if name]
    if not any(parts):
        return None
    found = next(part for part in parts if part)
    if not sign:
        return found.value, found.sd, found.provenance, found.how
    a, b = (part.value if part else printed[name, number.column] for part, name in zip(parts, (left, right)))
    if sign == " - ":
        return a - b, math.nan, found.provenance, found.how
    relative = math.hypot(*(part.sd / part.value for part in parts if part))
    return a / b, a / b * relative, found.provenance, found.how


def judged(number, found):
    """(ours, sd, provenance, how) of a number of the paper, given what `relation` found."""
    if found is None:
        proxyless = "roxyless" in number.row + number.network
        built = number.network in zoo.BASELINES and number.column.endswith("latency")
        if proxyless or built:
            return math.nan, math.nan, "not reproduced", "not run or not measured here"
        return math.nan, math.nan, "paper", ""  # a number of others, which the paper quotes
    value, sd, provenance, how = found
    off = abs(value - number.value) > 2 * sd  # never, where sd is NaN: only a prediction has one
    return value, sd, "not reproduced" if off else provenance, how


def table(compared, source):
    """A table of the paper (for example "Table 4") with ours next to each column, and its source, as text."""
    rows = compared[compared.source == source]
    columns = {}
    for column, part in rows.groupby("column", sort=False):
        columns[f"{column} ({part.unit.iloc[0]})"] = part.set_index("row").printed
        columns[f"{column}: ours"] = pd.Series([shown(r) for r in part.itertuples()], index=part.row)
    return pd.DataFrame(columns, index=rows.row.unique()).fillna("–")


def shown(row):
    """Our value and its provenance, for example "85.4 ± 0.4 (not reproduced)"."""
    if math.isnan(row.ours):
        return f"({row.provenance})"
    spread = f" ± {row.sd:.1f}" if row.sd > 0 else ""
    return f"{row.ours:.4g}{spread} ({row.provenance})"


def figure1(step_cost, alpha_every=5):
    """Figure 1's bars as multiples of normal training, the paper's and ours: a frame row, quantity, paper, ratio, ours.

    `step_cost` is the table of proxyless_lite/tables/results/step_cost.csv for one space: ours are the costs of a search *step* (a weight
    step and 1 / `alpha_every` of an α step) over a plain training step, and the larger memory of the two.
    """
    cost = step_cost.set_index("step")
    steps = {"Normal training": None, "DARTS & One-Shot": ("all_paths", "darts"), "Proxyless": ("weight", "two_path")}
    rows = numbers()
    rows = rows[rows.source.eq("Figure 1") & rows.network.eq("")]
    found = []
    for row in rows.itertuples():
        plain = rows[rows.row.eq("Normal training") & rows.column.eq(row.column)].value.item()
        ours = 1.0 if row.row == "Normal training" else math.nan
        if steps.get(row.row):
            weight, alpha = (cost.loc[step] for step in steps[row.row])
            ours = weight.time + alpha.time / alpha_every if row.column == "Search cost" else max(weight.memory, alpha.memory)
        found.append((row.row, row.column, row.unit, row.value, row.value / plain, ours))
    return pd.DataFrame(found, columns=["row", "quantity", "unit", "paper", "ratio", "ours"])


def parser():
    cli = OneLineParser(prog="python -m proxyless_lite.course.paper", description="Predict the Pixel 1 latencies from the released table.")
    cli.add_argument("path", help="CSV to write")
    return cli


def main(arguments=None):
    path, table = parser().parse_args(arguments).path, latency.Table.pixel1()
    metadata = {"command": shlex.join(["python", "-m", "proxyless_lite.course.paper", path]), **table.metadata}
    write_table(path, predict_pixel1(table), metadata)


if __name__ == "__main__":
    run(main)

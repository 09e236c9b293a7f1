"""The tables of notebook 09: what of the paper matches, what we have values for, and what we did not reproduce."""

import numpy as np
import pandas as pd
from scipy.stats import kendalltau, spearmanr

from .. import latency
from ..runtime import read_table
from . import paper

FOUND_FOR = {"proxyless_gpu": "GPU", "proxyless_cpu": "CPU", "proxyless_mobile": "phone"}  # network of Table 4 -> hardware
COLUMNS = ("matches the paper", "recomputed or measured here", "not reproduced")
SUMMARY = {  # of each table and figure, in words, under COLUMNS
    "Table 1": ("the error published with the released weights", "size of the released network, exact", "the search and its training"),
    "Table 2": ("accuracies published with released weights", "–", "search cost; latencies predicted 5 to 15 % too slow"),
    "Table 3": ("accuracies published with released weights", "–", "GPU latencies: no GPU was available"),
    "Table 4": ("accuracies published with released weights", "CPU latencies, in another order",
                "GPU latencies; predicted phone latencies, two networks swapped"),
    "Figure 1": ("a search step costs about as much as a training step", "time and memory of a step, as ratios", "GPU-hours and gigabytes"),
    "Figure 2": ("–", "drawn by code; its steps are tested", "–"),
    "Figure 3": ("–", "drawn by code, with latencies measured on a CPU", "–"),
    "Figure 4": ("Proxyless (mobile) faster than MobileNetV2 1.4: predicted 1.84 times", "–",
                 "latencies predicted 2 to 21 % too slow; at equal accuracy the factor is 1.7"),
    "Figure 5": ("a model predicts the latency of unseen networks", "RMSE 0.26 ms of 18.9 ms, on a CPU", "0.75 ms on the phone"),
    "Figure 6": ("a stage that halves the image begins with its largest block", "drawn from the released networks, exact", "–")}


def summary(compared):
    """SUMMARY as a frame, one row per table or figure, with the number of the paper's values of each provenance."""
    counts = pd.crosstab(compared.source, compared.provenance).reindex(SUMMARY, columns=list(paper.PROVENANCE), fill_value=0)
    words = pd.DataFrame.from_dict(SUMMARY, orient="index", columns=list(COLUMNS))
    return words.join(counts.add_prefix("n: ")).rename_axis("source")


def latencies(folder):
    """Latencies measured here, in ms: a row per ImageNet network, with the standard deviation of each runtime's visits."""
    torch_, onnx = (read_table(folder / f"zoo_{runtime}.csv").set_index("network") for runtime in ("cpu", "onnxruntime"))
    return pd.DataFrame({"PyTorch (ms)": torch_.ms, "sd": torch_.sd, "ONNX Runtime (ms)": onnx.ms, "sd ": onnx.sd}).loc[list(paper.NETWORKS)]


def latency_model(path=paper.DATA / "latency" / "mobile_cpu.csv", fitted=4000, seed=0):
    """Figure 5: fit the latency model to `fitted` networks, and test it on the others.

    Returns its report, and the measured and predicted ms of the networks of the test.
    """
    timings = latency.Timings.load(path)
    order = np.random.default_rng(seed).permutation(len(timings.architectures))
    fit, test = order[:fitted], np.sort(order[fitted:])
    repeats, chosen = timings.repeats(), lambda indices: [timings.architectures[i] for i in indices]
    model = latency.Model().fit(chosen(fit), repeats[fit])
    report = model.report(chosen(test), repeats[test]) | {"machine": timings.metadata["machine"]["processor"]}
    return report, np.nanmedian(repeats[test], axis=1), model.predict(chosen(test))


def ours(folder, model_report):
    """All of ours: paper.ours, and the error of the latency model."""
    how = f"{model_report['machine']}, 1,000 test networks"
    error = paper.frame([("latency_model", "RMSE", model_report["rmse"])], "measured here", how)
    return pd.concat([paper.ours(folder), error], ignore_index=True)


def pixel1(compared):
    """Predictions for the Pixel 1, how far they are off the paper's ms and TensorFlow's, in percent."""
    table = read_table(paper.DATA / "results" / "pixel1.csv").set_index("network")
    rows = compared[compared.column.eq("Mobile latency") & compared.unit.eq("ms")].drop_duplicates("network")
    google = pd.read_csv(paper.DATA / "paper" / "released.csv", index_col="network").pixel1_ms
    for source, ms in (("paper", rows.set_index("network").value), ("TensorFlow", google)):
        table[f"{source} (ms)"] = ms.reindex(table.index)
        table[f"off {source} (%)"] = 100 * (table.ms / table[f"{source} (ms)"] - 1)
    return table


def claims(compared):
    """The paper's ratios and differences with ours."""
    rows = compared[compared.unit.isin(["×", "points"])].rename(columns={"value": "paper"})
    return rows.set_index("source")[["row", "column", "paper", "ours", "sd", "provenance"]]


def platforms(compared, measured, predicted):
    """Table 4 for plots.platforms: latency in ms of the three networks, a row per platform, the paper's first."""
    printed = compared[compared.source.eq("Table 4")].pivot(index="column", columns="network", values="value")
    rows = {"V100\npaper": printed.loc["GPU latency"], "Xeon\npaper": printed.loc["CPU latency"],
            "Pixel 1\npaper": printed.loc["Mobile latency"], "CPU, PyTorch\nmeasured here": measured["PyTorch (ms)"],
            "CPU, ONNX Runtime\nmeasured here": measured["ONNX Runtime (ms)"], "Pixel 1\npredicted": predicted.ms}
    return pd.DataFrame(rows).T[list(FOUND_FOR)]


def ranks(compared, own, measured, predicted):
    """Rank correlation of each latency of the paper with each column of ours, over the networks that have both."""
    printed = compared[compared.column.str.endswith("latency") & compared.unit.eq("ms") & compared.network.ne("")]
    printed = printed.drop_duplicates(["network", "column"]).pivot(index="network", columns="column", values="value")
    mine = {"CPU, PyTorch": measured["PyTorch (ms)"], "CPU, ONNX Runtime": measured["ONNX Runtime (ms)"],
            "Pixel 1, predicted": predicted.ms, "MACs": own[own.column.eq("MACs")].set_index("network").value}
    rows = []
    for column in ("GPU latency", "CPU latency", "Mobile latency"):
        for name, values in mine.items():
            both = pd.concat([printed[column], values], axis=1).dropna().to_numpy().T
            rows.append((column, name, both.shape[1], kendalltau(*both).statistic, spearmanr(*both).statistic))
    return pd.DataFrame(rows, columns=["paper", "ours", "networks", "Kendall τ", "Spearman ρ"])


def figure4(compared, own, predicted):
    """Figure 4 for plots.accuracy_against_latency: the paper's points, ours, and the two networks whose latencies are compared."""
    accuracy = own[own.column.eq("Top-1")].set_index("network").value
    points = compared[compared.source.eq("Figure 4")].pivot(index="row", columns="column", values="value")
    printed, mine = {}, {}
    for name, key in (("Proxyless", "proxyless_mobile"), ("MobileNetV2", "mobilenet_v2")):
        row = points[points.index.str.startswith(name)].sort_values("Mobile latency")
        printed[name] = row["Mobile latency"], row["Top-1"]
        wide = predicted[predicted.index.str.startswith(key)].sort_values("ms")
        mine[name] = wide.ms, accuracy[wide.index], wide.sd
    same = (*predicted["paper (ms)"][["proxyless_mobile", "mobilenet_v2_1.4"]], 74.6, "1.83×")
    return printed, mine, same


def largest_first(network):
    """(blocks kept, stages whose first block is the largest, stages that halve the image); size is expansion × kernel."""
    size = lambda choice: 0 if choice == "Zero" else int(choice[2]) * int(choice[4])
    starts = [i for i, edge in enumerate(network.space.edges()) if edge.stride == 2]
    first = [size(network.choices[i]) == max(map(size, network.choices[i:i + 4])) for i in starts]
    return sum(choice != "Zero" for choice in network.choices), sum(first), len(first)

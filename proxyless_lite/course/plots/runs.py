"""What happened in a search or a training."""

import numpy as np
import seaborn

from .style import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, described, headline, new_figure


@described
def search_history(history, classes):
    """Three panels over epochs: loss, accuracy, mean entropy of p; dashed is what guessing among the classes gives.

    `history` of a search on images of so many `classes`."""
    figure, axes = new_figure(1, 3, figsize=(9, 3))
    warm = (history.phase == "warm-up").sum()
    for ax, columns, label in zip(axes, (("train_loss", "valid_loss"), ("train_accuracy", "valid_accuracy", "derived_accuracy"),
                                         ("entropy",)), ("cross-entropy (nats)", "top-1 accuracy", "mean entropy of p (nats)")):
        for column, colour, marker in zip(columns, (BLUE, ORANGE, GREEN), "os^"):
            ax.plot(history.epoch, history[column], color=colour, marker=marker, markersize=3, label=column.split("_")[0])
        if warm:
            ax.axvspan(-0.5, warm - 0.5, color="0.9", zorder=0, label="warm-up: α fixed")
        ax.set(xlabel="epoch", ylabel=label)
        ax.xaxis.get_major_locator().set_params(integer=True)
    for ax, chance in zip(axes, (np.log(classes), 1 / classes)):
        ax.axhline(chance, color="0.4", linestyle="--", linewidth=1, label="guessing")
    axes[1].set(ylim=(0, 1), title=f"valid: best {history.valid_accuracy.max():.0%}; guessing {1 / classes:.0%}")
    axes[2].set(ylim=(0, None), title=f"from {history.entropy.iloc[0]:.2f} to {history.entropy.iloc[-1]:.2f}")
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside upper center", ncols=5)  # of the first two panels
    return figure


@described
def training_history(histories):
    """Training loss and accuracy over epochs, one line per training; a colour and marker per family of networks.

    `histories` maps (family, size) to the history of a training; a size has its line style in every family."""
    figure, axes = new_figure(1, 2, figsize=(8.8, 2.8))
    colours = dict(zip(dict.fromkeys(family for family, _ in histories), zip((BLUE, "0.45", ORANGE), "Dos")))
    lines = dict(zip(dict.fromkeys(size for _, size in histories), (":", "--", "-", "-.")))
    for (family, size), history in histories.items():
        colour, marker = colours[family]
        for ax, column in zip(axes, ("train_loss", "train_accuracy")):
            ax.plot(history.epoch, history[column], lines[size], color=colour, marker=marker, markersize=4, label=f"{family}, {size}")
    for ax in axes:
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set(xlabel="epoch", ylabel="training loss (nats)")
    axes[1].set(xlabel="epoch", ylabel="training accuracy, top-1")
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside right center")  # inside, it would hide lines
    return figure


@described
def probabilities(p, names, title=""):
    """Heat map of p (E, N): one row per edge, one column per candidate; darker is more probable. The largest is marked."""
    figure, ax = new_figure(figsize=(4.6, 0.6 + 0.13 * max(12, len(p))))
    seaborn.heatmap(p, ax=ax, cmap="Greys", vmin=0, vmax=1, xticklabels=names, yticklabels=-(-len(p) // 12),
                    cbar_kws={"label": "probability p", "shrink": 0.7})
    ax.plot(np.argmax(p, 1) + 0.5, np.arange(len(p)) + 0.5, "o", color="white", markeredgecolor=BLACK, markersize=4.5)
    ax.set(xlabel="candidate (○ the most probable of its edge)", ylabel="edge", title=title)
    ax.grid(False)
    ax.tick_params(axis="x", rotation=40)
    ax.tick_params(axis="y", rotation=0)
    return figure


@described
def cost_history(history, target, unit="ms", scale=1.0):
    """Expected cost E under p and cost of the most probable network over epochs, with the target.

    `scale` multiplies the costs, to show them in `unit`."""
    figure, ax = new_figure(figsize=(5.6, 2.8))
    for column, colour, marker in (("expected_cost", BLUE, "o"), ("derived_cost", ORANGE, "s")):
        ax.plot(history.epoch, scale * history[column], color=colour, marker=marker, markersize=4, label=column.replace("_", " "))
    ax.axhline(scale * target, color="0.4", linestyle="--", linewidth=1, label="target")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(xlabel="epoch", ylabel=f"cost of a network ({unit})")
    ax.legend()
    return figure


@described
def against_random(found, random_accuracies, unit="test accuracy (%)"):
    """The found network's accuracy among random networks of equal cost, with their mean and standard deviation."""
    figure, ax = new_figure(figsize=(6, 1.9))
    values = 100 * np.asarray(random_accuracies)
    mean, sd = values.mean(), values.std(ddof=1)
    ax.axvspan(mean - sd, mean + sd, color="0.9", label="random, mean ± sd")
    ax.plot(values, np.linspace(-0.5, 0.5, len(values)), "o", color="white", markeredgecolor=BLACK, label="random, each")
    ax.plot([100 * found], [0], "D", color=BLUE, markersize=9, label="found")
    ax.set(xlabel=unit, yticks=[], ylim=(-1, 1))
    ax.grid(False)
    ax.legend(loc="upper center", ncols=3, bbox_to_anchor=(0.5, 1.35))
    return figure


@described
def found_and_random(runs, labels):
    """Test accuracy of the found network and of random networks of its cost, one row per search, with the place of the found one.

    `runs` has a row per trained network: run, network ("found" or another), test_accuracy; `labels` names the searches."""
    figure, ax = new_figure(figsize=(6.4, 0.7 * len(labels) + 1.1))
    for y, (_, run) in enumerate(runs.groupby("run")):
        own = run.network == "found"
        found, others = 100 * run.test_accuracy[own].item(), 100 * run.test_accuracy[~own]
        ax.plot(others, [y] * len(others), "o", color="white", markeredgecolor=BLACK, markersize=9, label="random network of its cost" if y == 0 else None)
        ax.plot(found, y, "D", color=BLUE, markersize=10, label="found network" if y == 0 else None)
        ax.text(1.02, y, f"place {1 + (others > found).sum()} of {len(run)}", transform=ax.get_yaxis_transform(), va="center")
    ax.set(xlabel="test accuracy (%)", yticks=range(len(labels)), yticklabels=labels, ylim=(len(labels) - 0.4, -0.6))
    figure.legend(loc="outside upper center", ncols=2)
    return figure


@described
def images(data, count=10):
    """Validation images of several classes, as the network gets them, with their class below.

    `count` images, the first of each class in turn."""
    labels = [k % len(data.classes) for k in range(count)]
    first = [(data.valid.labels == label).nonzero()[0, 0].item() for label in labels]
    batch, _ = next(data.eval_batches(data.valid[first], count))                          # (count, C, H, W), normalised
    mean, std = data.scale
    pixels = (batch.permute(0, 2, 3, 1) * std + mean).round().byte().cpu().numpy()
    figure, axes = new_figure(1, count, figsize=(9, 1.4))
    for ax, image, label in zip(axes, pixels, labels):
        ax.imshow(image)
        ax.set_title(data.classes[label], fontsize=9)
        ax.axis("off")
    return headline(figure, f"{pixels.shape[2]} × {pixels.shape[1]} pixels, {len(data.classes)} classes")


@described
def accuracy_against_cost(groups, label="latency (ms)", joined=False):
    """Accuracy (%) against a cost, one marker per group.

    `groups` maps a label to (costs, accuracies), `joined` by lines."""
    figure, ax = new_figure(figsize=(5.6, 3.4))
    for (name, (costs, accuracies)), colour, marker in zip(groups.items(), (BLUE, "0.45", ORANGE, GREEN, PURPLE), "Do^sv"):
        ax.plot(costs, 100 * np.asarray(accuracies), marker + "-" * joined, color=colour, markersize=6, linewidth=1, label=name,
                markerfacecolor="white" if marker == "o" else colour)
    ax.set(xlabel=label, ylabel="test accuracy (%)")
    ax.legend(loc="lower right")
    return figure


@described
def latency_against_weight(table, unit="ms"):
    """E[latency] and the derived network's latency against the penalty's weight: mean over seeds, and each seed.

    `table` has columns weight, expected, latency, one row a search."""
    figure, ax = new_figure(figsize=(5.6, 3))
    weights = sorted(table.weight.unique())
    for column, colour, marker, label, aside in (("expected", BLUE, "o", "E[latency] under p", -0.07), ("latency", ORANGE, "s", "derived network", 0.07)):
        x = np.array([weights.index(w) for w in table.weight]) + aside
        ax.plot(np.arange(len(weights)) + aside, table.groupby("weight")[column].mean(), marker=marker, color=colour, label=f"{label}, mean")
        ax.plot(x, table[column], marker, color="white", markeredgecolor=colour, markersize=4, label=f"{label}, each search")
    ax.set_xticks(range(len(weights)), [f"{w:g}" for w in weights])
    ax.set(xlabel=f"weight λ₂ of the penalty (nats/{unit}, not to scale)", ylabel=f"latency ({unit})", ylim=(0, None))
    ax.legend()
    return figure


def best_within(networks, budget):
    """The row of lowest cross-entropy among networks of latency ≤ budget; None where there is none."""
    allowed = networks[networks.latency <= budget]
    return None if allowed.empty else allowed.loc[allowed.cross_entropy.idxmin()]


def preferred(networks, price):
    """The row of lowest cross-entropy + price · latency: Eq. 7 for trained networks, price λ₂ in nats/ms."""
    return networks.loc[(networks.cross_entropy + price * networks.latency).idxmin()]


def pareto(networks):
    """The Pareto front, by latency: networks that no other matches in both latency and cross-entropy."""
    ordered = networks.sort_values(["latency", "cross_entropy"])
    return ordered[ordered.cross_entropy < ordered.cross_entropy.cummin().shift(fill_value=np.inf)]


@described
def front(networks, price=None, budget=None):
    """Test cross-entropy of networks against latency, the front, the best within a budget, the one a price prefers.

    `networks` has columns kind, latency (ms) and cross_entropy (nats); `price` is λ₂ in nats/ms, `budget` in ms. The second kind,
    random networks, has open markers. The worst networks, up to a tenth, lie above the axes.
    Networks of equal cross-entropy + price · latency lie on a falling line; the one drawn touches the preferred network."""
    figure, ax = new_figure(figsize=(6.4, 4.2))
    for (kind, group), (marker, colour) in zip(networks.groupby("kind", sort=False), (("D", BLUE), ("o", "0.35"))):
        ax.plot(group.latency, group.cross_entropy, marker, color=colour, markersize=6, label=kind,
                markerfacecolor="white" if marker == "o" else colour)
    edge = pareto(networks)
    ax.step(edge.latency, edge.cross_entropy, where="post", color=BLACK, linewidth=0.8, label="front")
    low, high = networks.cross_entropy.min(), networks.cross_entropy.quantile(0.9)
    bottom, top = low - 0.1 * (high - low), high + 0.1 * (high - low)
    if len(hidden := networks[networks.cross_entropy > top]):
        ax.plot(hidden.latency, [top] * len(hidden), "^", color=BLACK, markersize=8, clip_on=False, label=f"{len(hidden)} above the figure")
    ax.set(xlabel="latency (ms)", ylabel="test cross-entropy (nats)", xlim=(0, 1.05 * networks.latency.max()), ylim=(bottom, top))
    if budget is not None:
        ax.axvspan(budget, ax.get_xlim()[1], color="0.92", zorder=0)
        ax.text(budget, 0.98, " over the budget", transform=ax.get_xaxis_transform(), va="top", fontsize=9)
        mark(ax, best_within(networks, budget), "s", RED, f"best within {budget:.2f} ms")
    if price is not None:
        chosen, ends = preferred(networks, price), np.array(ax.get_xlim())
        ax.plot(ends, chosen.cross_entropy - price * (ends - chosen.latency), ":", color=PURPLE, linewidth=1.5, label="equal CE + λ₂ · latency")
        mark(ax, chosen, "o", PURPLE, f"preferred at λ₂ = {price:.3f} nats/ms")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return figure


def mark(ax, network, marker, colour, label):
    """A large open marker around a network, which the legend describes."""
    if network is None:
        return ax.plot([], [], " ", label=f"{label}: none")
    ax.plot(network.latency, network.cross_entropy, marker, color=colour, markersize=13, markerfacecolor="none", markeredgewidth=2,
            label=f"{label}: {network.latency:.2f} ms, {network.kind}")


@described
def loss_forms(forms, costs, target, unit="ms"):
    """What each form of the penalty makes of the expected latency.

    `forms` maps a label to losses over `costs`."""
    figure, ax = new_figure(figsize=(5.6, 3))
    looks = zip((GREEN, BLUE, PURPLE, ORANGE), ("-", "--", "-.", ":"), (6, 2, 2, 2))  # the first wide: another may lie on it
    for (label, losses), (colour, line, width) in zip(forms.items(), looks):
        ax.plot(costs, losses, line, color=colour, label=label, linewidth=width, alpha=0.5 if width > 2 else 1)
    ax.axvline(target, color="0.4", linewidth=0.8)
    ax.text(target, 0.99, "target ", transform=ax.get_xaxis_transform(), ha="right", va="top", fontsize=9)
    ax.set(xlabel=f"expected latency ({unit})", ylabel="loss − loss at the target")
    ax.legend()
    return figure

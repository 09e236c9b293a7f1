"""What happened in a search or a training."""

import numpy as np
import seaborn

from .style import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, described, new_figure


@described
def search_history(history):
    """Three panels over epochs: loss, accuracy, mean entropy of p."""
    figure, axes = new_figure(1, 3, figsize=(9, 3))
    warm = (history.phase == "warm-up").sum()
    for ax, columns, label in zip(axes, (("train_loss", "valid_loss"), ("train_accuracy", "valid_accuracy", "derived_accuracy"),
                                         ("entropy",)), ("cross-entropy (nats)", "top-1 accuracy", "mean entropy of p (nats)")):
        for column, colour, marker in zip(columns, (BLUE, ORANGE, GREEN), "os^"):
            ax.plot(history.epoch, history[column], color=colour, marker=marker, markersize=3, label=column.split("_")[0])
        if warm:
            ax.axvspan(-0.5, warm - 0.5, color="0.9", zorder=0)
        ax.set(xlabel="epoch", ylabel=label)
        ax.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside upper center", ncols=3)  # of both panels
    if warm:
        axes[2].text(warm / 2 - 0.5, 0.02, "warm-up", transform=axes[2].get_xaxis_transform(), ha="center", va="bottom", fontsize=9)
    return figure


@described
def training_history(histories):
    """Training loss and accuracy over epochs, one line per training.

    `histories` maps a label to the history of a training."""
    figure, axes = new_figure(1, 2, figsize=(8.8, 2.8))
    looks = zip((BLUE, ORANGE, GREEN, RED, PURPLE, BLACK), "os^Dv*", ("-", "--", ":", "-.", "-", "--"))
    for (label, history), (colour, marker, line) in zip(histories.items(), looks):
        for ax, column in zip(axes, ("train_loss", "train_accuracy")):
            ax.plot(history.epoch, history[column], line, color=colour, marker=marker, markersize=4, label=label)
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
    ax.plot(np.argmax(p, 1) + 0.5, np.arange(len(p)) + 0.5, ".", color=RED, markersize=4)
    ax.set(xlabel="candidate", ylabel="edge, in network order", title=title)
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
    ax.axvline(mean, color="0.5", linestyle="--")
    ax.plot(values, np.linspace(-0.5, 0.5, len(values)), "o", color="white", markeredgecolor=BLACK, label="random, each")
    ax.plot([100 * found], [0], "D", color=BLUE, markersize=9, label="found")
    ax.set(xlabel=unit, yticks=[], ylim=(-1, 1))
    ax.grid(False)
    ax.legend(loc="upper center", ncols=3, bbox_to_anchor=(0.5, 1.35))
    return figure


@described
def found_and_random(runs, labels):
    """Test accuracy of the found network and of random networks of its cost, one row per search, with the rank of the found one.

    `runs` has a row per trained network: run, network ("found" or another), test_accuracy; `labels` names the searches."""
    figure, ax = new_figure(figsize=(6.4, 0.7 * len(labels) + 1.1))
    for y, (_, run) in enumerate(runs.groupby("run")):
        own = run.network == "found"
        found, others = 100 * run.test_accuracy[own].item(), 100 * run.test_accuracy[~own]
        ax.plot(others, [y] * len(others), "o", color="white", markeredgecolor=BLACK, markersize=9, label="random network of its cost" if y == 0 else None)
        ax.plot(found, y, "D", color=BLUE, markersize=10, label="found network" if y == 0 else None)
        ax.text(1.02, y, f"rank {1 + (others > found).sum()} of {len(run)}", transform=ax.get_yaxis_transform(), va="center")
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
    return figure


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
def latency_against_weight(table, live=None, unit="ms"):
    """E[latency] and the derived network's latency against the penalty's weight: mean over seeds, and each seed.

    `table` and `live`, the searches of this run, have columns weight, expected, latency."""
    figure, ax = new_figure(figsize=(5.6, 3))
    weights = sorted(table.weight.unique())
    for column, colour, marker, label in (("expected", BLUE, "o", "E[latency]"), ("latency", ORANGE, "s", "derived network")):
        groups = table.groupby("weight")[column]
        ax.plot(range(len(weights)), groups.mean(), marker=marker, color=colour, label=f"{label}, mean of seeds")
        for x, weight in enumerate(weights):
            values = table.loc[table.weight == weight, column]
            ax.plot([x] * len(values), values, marker, color="white", markeredgecolor=colour, markersize=4)
        if live is not None:
            ax.plot([weights.index(w) for w in live.weight], live[column], marker, color=BLACK, markersize=5, label=f"{label}, this run")
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

    `networks` has columns kind, latency (ms) and cross_entropy (nats); `price` is λ₂ in nats/ms, `budget` in ms. The second and the
    fourth kind, random networks, have open markers.
    Networks of equal cross-entropy + price · latency lie on a falling line; the one drawn touches the preferred network."""
    figure, ax = new_figure(figsize=(6.4, 4.4))
    looks = zip("Do^v", (BLUE, "0.45", ORANGE, BLACK), (5, 5, 9, 9))                       # random networks open, those of this run large
    for (kind, group), (marker, colour, size) in zip(networks.groupby("kind", sort=False), looks):
        ax.plot(group.latency, group.cross_entropy, marker, color=colour, markersize=size, label=kind,
                markerfacecolor="white" if marker in "ov" else colour)
    edge = pareto(networks)
    ax.step(edge.latency, edge.cross_entropy, where="post", color=BLACK, linewidth=0.8, label="front")
    low, high = networks.cross_entropy.min(), networks.cross_entropy.max()
    ax.set(xlabel="latency (ms)", ylabel="test cross-entropy (nats)", xlim=(0, 1.05 * networks.latency.max()),
           ylim=(low - 0.1 * (high - low), high + 0.1 * (high - low)))
    if budget is not None:
        ax.axvspan(budget, ax.get_xlim()[1], color="0.92", zorder=0)
        mark(ax, best_within(networks, budget), "s", RED, f"best within {budget:.2f} ms")
    if price is not None:
        chosen, ends = preferred(networks, price), np.array(ax.get_xlim())
        ax.plot(ends, chosen.cross_entropy - price * (ends - chosen.latency), ":", color=PURPLE, linewidth=1.5)
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
    for (label, losses), colour, line in zip(forms.items(), (BLUE, ORANGE, GREEN, PURPLE), ("-", "--", ":", "-.")):
        ax.plot(costs, losses, line, color=colour, label=label, linewidth=2)
    ax.axvline(target, color="0.6", linewidth=0.8)
    ax.set(xlabel=f"expected latency ({unit})", ylabel="loss − loss at the target")
    ax.legend()
    return figure

"""NAS-Bench-201: its networks have the published sizes, its edges are shared by all cells, its files are read safely."""

import bz2
import itertools
import os
import pickle
import random
from collections import OrderedDict
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.testing import assert_close
from toy import exactly, on, others, probed_gradient, spread, stored_gradient

import proxyless_lite as pl
from proxyless_lite.costs import costs
from proxyless_lite.ground_truth import public
from proxyless_lite.latency.features import features

SPACE = pl.spaces.nasbench201()
PUBLISHED = {  # arch -> weights, millions of flops: as get_cost_info of NATS-Bench gives them (its files 000000, 000011 and 000284)
    "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|": (129_306, 15.64737),
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|none~0|nor_conv_3x3~1|avg_pool_3x3~2|": (802_426, 113.95137),
    "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|none~0|nor_conv_1x1~1|none~2|": (101_306, 11.71521),
}
ARCHS = list(PUBLISHED)


def network(arch):
    return pl.Architecture(SPACE, public.from_string(arch))


def images(n=2, size=8):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


# -- the space --------------------------------------------------------------------------------------------------------

def test_the_space_has_the_cells_of_nas_bench_201_and_their_names():
    assert SPACE.size() == 15_625
    assert [edge.name for edge in SPACE.edges()] == ["0→1", "0→2", "1→2", "0→3", "1→3", "2→3"]
    assert public.from_string(ARCHS[1]) == ("nor_conv_3x3", "nor_conv_3x3", "avg_pool_3x3", "none", "nor_conv_3x3", "avg_pool_3x3")
    assert network(ARCHS[1]).code == "334034"
    assert [public.to_string(public.from_string(arch)) for arch in ARCHS] == ARCHS


@pytest.mark.parametrize("arch", ["", "nor_conv_3x3", ARCHS[0][:-1], ARCHS[0].replace("~2", "~1"), ARCHS[0].replace("avg_pool", "max_pool"), 3])
def test_a_string_that_is_no_cell_is_refused_in_one_line(arch):
    with pytest.raises(ValueError, match="write .op~0.*nor_conv_3x3, avg_pool_3x3$") as error:
        public.from_string(arch)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="6 edges"):
        public.to_string(["none"])


@pytest.mark.parametrize("arch", ARCHS)
def test_networks_have_the_published_sizes_and_costs_add_up_to_them(arch):
    found, (weights, flops) = network(arch), PUBLISHED[arch]
    assert found.params() == costs(SPACE, "params").cost_of(found) == weights
    assert found.macs() == costs(SPACE, "macs").cost_of(found) == round(flops * 1e6) - 10  # they also count the bias of 10 classes


def test_blocks_tell_the_latency_model_the_work_of_all_cells():
    block, = {edge.block("nor_conv_3x3") for edge in SPACE.edges()}
    work, _ = features(block)
    one = 5 * 9 * (16 * 16 * 32 * 32 + 32 * 32 * 16 * 16 + 64 * 64 * 8 * 8)
    assert work[0] == one and len(SPACE.fixed_blocks()) == 4


def test_every_cell_computes_the_string_with_its_own_weights():
    torch.manual_seed(0)
    net = SPACE.compact(public.from_string(ARCHS[1])).double().eval()
    x = images()
    y = net(x)
    for i in range(15):
        x = net.fixed[i // 5](x) if i % 5 == 0 else x
        own = [edge.cells[i] for edge in net.edges]
        nodes = [x]
        for j, edges in enumerate(([0], [1, 2], [3, 4, 5])):
            nodes.append(sum(own[e](node) for e, node in zip(edges, nodes)))
        x = nodes[3]
    exactly(net.fixed[3](x), y)
    y.sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.edges[0].parameters()), "of the first edge, in every cell"


# -- the supernet -----------------------------------------------------------------------------------------------------

@pytest.fixture
def supernet():
    torch.manual_seed(0)
    return spread(pl.SuperNet(SPACE).double())


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "recomputed"])
def test_a_probe_sums_the_gate_gradient_over_all_cells(supernet, recompute):
    x, active = images(), [3, 1, 2, 4, 3, 2]
    loss = lambda: cross_entropy(supernet(x), torch.tensor([1, 7]))
    expected = stored_gradient(supernet, active, loss)
    for op in supernet.mixed_ops.values():
        op.activation_checkpointing = recompute
    found = probed_gradient(supernet, active, others(supernet, active), loss)
    assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert found[active.index(3)].abs().max() > 0


@pytest.mark.parametrize("classes", [10, 100])
def test_a_found_cell_is_saved_and_read_back(tmp_path, classes):
    found = pl.Architecture(pl.spaces.nasbench201(classes), public.from_string(ARCHS[1]))
    found.save(tmp_path / "a.json")
    again = pl.Architecture.load(tmp_path / "a.json")
    assert again.choices == found.choices and again.params() == found.params()
    assert again.build()(torch.zeros(2, 3, 32, 32)).shape == (2, classes)


def test_a_supernet_is_searched_and_its_result_found_by_its_code(supernet):
    adam, before = torch.optim.Adam(supernet.architecture_parameters(), lr=0.1, betas=(0.0, 0.999)), supernet.alpha_matrix()
    pl.rules.TwoPath().update(supernet, adam, on(supernet, images(), torch.tensor([1, 7])), torch.Generator().manual_seed(0))
    assert ((supernet.alpha_matrix() != before).sum(1) == 2).all()
    found = supernet.derive()
    assert pl.Architecture.from_code(SPACE, found.code) == found
    supernet.activate(found)
    exactly(supernet.eval()(images()), supernet.prune()(images()))


# -- which cells compute the same -------------------------------------------------------------------------------------

def test_cells_that_compute_the_same_have_one_canonical_form():
    def value(choices):
        """What the cell makes of a number, where every operation is a function without structure, but 0 at 0."""
        nodes, names = [12_345], iter(choices)
        for _ in range(3):
            nodes.append(sum({"none": 0, "skip_connect": node}.get(name, node and random.Random(f"{name} {node}").getrandbits(60))
                             for node, name in zip(nodes, names)))
        return nodes[3]

    cells = list(itertools.product(public.OPERATIONS, repeat=6))
    pairs = {(public.canonical(cell), value(cell)) for cell in cells}
    assert len(pairs) == len({form for form, _ in pairs}) == len({number for _, number in pairs}) == 4_930
    assert public.canonical(cells[0]) == "0"
    assert public.canonical(public.from_string(ARCHS[2])) == "nor_conv_1x1(x)"


# -- the files --------------------------------------------------------------------------------------------------------

def runs(epochs=200):
    """Rows (arch, seed, accuracy, seconds) of invented runs: one, two and three seeds."""
    draw = random.Random(epochs)
    return [(arch, seed, round(draw.uniform(0.5, 0.95), 4), 1.5 * epochs) for n, arch in enumerate(ARCHS, 1) for seed in (777, 888, 999)[:n]]


def one_run(arch, images, seed, accuracy, seconds, epochs):
    """The state of a ResultsCount as NAS-Bench-201 saves it: percent, and NumPy's numbers for `params` and `latency`."""
    last = {f"ori-test@{epoch}": 100 * accuracy if epoch == epochs - 1 else 10.0 for epoch in range(epochs)}
    return {"name": images, "net_state_dict": None, "train_acc1es": dict.fromkeys(range(epochs), 99.0), "train_acc5es": None,
            "train_losses": dict.fromkeys(range(epochs), 0.1), "train_times": seconds and OrderedDict.fromkeys(range(epochs), seconds / epochs),
            "arch_config": {"channel": 16, "num_cells": 5, "arch_str": arch, "class_num": 10}, "params": np.float64(0.1), "flop": 11.7,
            "seed": f"{seed:04d}", "epochs": epochs, "latency": [np.float64(0.01)], "eval_names": ["ori-test"], "eval_acc1es": last,
            "eval_times": dict.fromkeys(last, 1.0), "eval_losses": dict.fromkeys(last, 0.5)}


def results(index, arch, epochs, seconds=True):
    """The state of an ArchResults: the runs of one cell, on CIFAR-10 and on others that do not count."""
    own = [run[1:] for run in runs(epochs) if run[0] == arch]
    found = {("cifar10", seed): one_run(arch, "cifar10", seed, accuracy, seconds and time, epochs) for seed, accuracy, time in own}
    found |= {(other, 777): one_run(arch, other, 777, 0.01, 1.0, epochs) for other in ("cifar10-valid", "cifar100", "ImageNet16-120")}
    return {"arch_index": index, "arch_str": arch, "all_results": found, "dataset_seed": {"cifar10": [seed for seed, *_ in own]},
            "clear_net_done": True}


def content(**kind):
    infos = {i: {"full": results(i, arch, 200, **kind), "less": results(i, arch, 12, **kind)} for i, arch in enumerate(ARCHS)}
    return {"meta_archs": ARCHS, "total_archs": len(ARCHS), "arch2infos": infos, "evaluated_indexes": list(infos)}


def save_as_2020(content, path):
    """As PyTorch 1.4 and NumPy 1.18 wrote it."""
    torch.save(content, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert b"cnumpy.core.multiarray\n" in path.read_bytes()


def save_csv(path, epochs=200):
    frame(epochs).to_csv(path, index=False)


def frame(epochs=200):
    return pd.DataFrame(runs(epochs), columns=["arch", "seed", "accuracy", "seconds"])


def check(table, epochs=200):
    """The table says what the runs say."""
    assert list(table) == ["choices", "macs", "runs", "mean", "sd", "seconds"] and table.index.name == "network"
    assert sorted(table.index) == list(table.index) and len(table) == len(ARCHS)
    for n, arch in enumerate(ARCHS, 1):
        row, accuracies = table.loc[network(arch).code], [run[2] for run in runs(epochs) if run[0] == arch]
        assert row.choices == public.from_string(arch) and row.macs == network(arch).macs() and row.runs == n
        assert row["mean"] == pytest.approx(np.mean(accuracies)) and row.seconds == pytest.approx(1.5 * epochs)
        assert row.sd == pytest.approx(np.std(accuracies, ddof=1)) if n > 1 else np.isnan(row.sd)


WRITERS = {"2020.pth": partial(save_as_2020, content()), "new.pth": lambda path: torch.save(content(), path), "runs.csv": save_csv,
           "runs.json": lambda path: path.write_text(frame().to_json(orient="records"))}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_table(tmp_path, name):
    WRITERS[name](tmp_path / name)
    check(public.read(str(tmp_path / name)))


def test_a_pth_has_runs_of_12_epochs_too(tmp_path):
    save_as_2020(content(), tmp_path / "a.pth")
    check(public.read(tmp_path / "a.pth", epochs=12), 12)
    with pytest.raises(ValueError, match="epochs=90: NAS-Bench-201 has runs of 12 and 200"):
        public.read(tmp_path / "a.pth", epochs=90)


def test_seconds_may_be_missing(tmp_path):
    frame().drop(columns="seconds").to_csv(tmp_path / "a.csv")
    torch.save(content(seconds=None), tmp_path / "a.pth")
    for name in ("a.csv", "a.pth"):
        assert public.read(tmp_path / name).seconds.isna().all()


class Evil:
    """Whoever unpickles it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_no_file_can_run_code(tmp_path):
    trace, evil = tmp_path / "trace", content()
    evil["meta_archs"] = Evil(trace)
    torch.save(evil, tmp_path / "a.pth")
    torch.save(evil, tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "c.pth").write_bytes(pickle.dumps(evil, protocol=2))
    (tmp_path / "NATS-tss-v1_0-3ffb9.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps(evil)))
    for path in tmp_path.glob("*.p*"):
        with pytest.raises(ValueError, match="can(not be read without)? run(ning)? code.*export a CSV") as error:
            public.read(path)
        assert "\n" not in str(error.value) and path.name in str(error.value) and not trace.exists()
    torch.load(tmp_path / "a.pth", weights_only=False)
    assert trace.exists(), "the trap works"


BAD = {"percent.csv": (f"arch,accuracy\n{ARCHS[0]},91.5\n", "from 0 to 1, not in percent"),
       "text.csv": (f"arch,accuracy\n{ARCHS[0]},good\n", "text.csv"),
       "none.csv": ("arch,accuracy\n", "a run at least"),
       "columns.csv": (f"arch,top1\n{ARCHS[0]},0.9\n", "of each the arch and an accuracy"),
       "cell.csv": (f"arch,accuracy\n{ARCHS[0]},0.9\n,0.9\n", "'nan' is no cell"),
       "broken.json": ("{", "not a table of NAS-Bench-201"),
       "broken.pth": ("PK", "without running code"),
       "folder": (None, "none of .csv, .json, .pth")}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_in_one_line_that_names_it(tmp_path, name):
    text, reason = BAD[name]
    (tmp_path / name).mkdir() if text is None else (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=reason) as error:
        public.read(tmp_path / name)
    assert "\n" not in str(error.value) and name in str(error.value)


@pytest.mark.parametrize("change", [lambda c: c.pop("arch2infos"), lambda c: c["arch2infos"][0].pop("full"), lambda c: c["arch2infos"].clear(),
                                    lambda c: c["arch2infos"][2]["full"]["all_results"]["cifar10", 999].pop("eval_acc1es")])
def test_a_pth_of_another_structure_is_refused_in_one_line(tmp_path, change):
    other = content()
    change(other)
    torch.save(other, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a.pth is not a table of NAS-Bench-201: .*[^\n]*; give another file"):
        public.read(tmp_path / "a.pth")


def test_no_file_is_an_error_of_its_own(tmp_path):
    for name in ("a.csv", "a.json", "a.pth"):
        with pytest.raises(FileNotFoundError, match=name):
            public.read(tmp_path / name)

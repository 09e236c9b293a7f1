"""The pages outside the notebooks: links lead somewhere, commands and code run; and what their prose rests on in the stored tables."""

import argparse
import importlib
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import cifar10_tree_rows
import latency_model
import nbformat
import numpy as np
import pandas as pd
import pytest
from pages import COURSE, DATA, NOTEBOOKS, PAGES, ROOT, blocks, course, has_numbers, printed_in_the_paper, text
from PIL import Image

import proxyless_lite as pl
from proxyless_lite import ground_truth
from proxyless_lite.course import notebook
from proxyless_lite.search.forecast import PAPER_GPU_HOURS

EXECUTED = {"notebooks/TEACHING.md", "CONTRIBUTING.md"}  # their Python blocks run as they stand


# -- what the prose rests on -------------------------------------------------------------------------------------------


def bench():
    return json.loads((DATA / "results" / "bench.json").read_text())


def test_the_stored_table_has_every_block_of_the_mobile_space():
    table = pl.latency.Table.load(DATA / "latency" / "mobile_cpu_table_a.csv")
    space = pl.spaces.mobile()
    distinct = {b for e in space.edges() for b in map(e.block, e.candidates) if b.operation != "Zero"} | set(space.fixed_blocks())
    assert len(distinct) == len(table.entries) == 70


def test_networks_of_the_zoo():
    assert pl.zoo.proxyless_gpu().macs() > pl.zoo.proxyless_cpu().macs()  # TEACHING: more MACs, and faster
    assert len(pl.zoo.RELEASED) == 5 and len(pl.zoo.BASELINES) == 9


def test_the_papers_gpu_hours():
    assert str(PAPER_GPU_HOURS) == printed_in_the_paper("Table 2", "Proxyless-R (mobile)", "Search cost")


def test_every_bar_of_the_stored_benchmark_is_met():
    bars, memory = bench()["bars"], bench()["memory"]["mobile"]
    assert all(bar["met"] for bar in bars.values()) and len(bars) == 6
    share = [memory[kind]["saved"] / memory[f"{kind} again"]["saved"] for kind in ("weight", "two_path")]
    assert [round(s) for s in share] == [6, 13] and bars["gradients with and without recomputation"]["value"] == 0


def test_the_latency_model_of_the_stored_benchmark_is_that_of_the_measurements():
    stored, timings = bench()["latency_model"]["cpu"], pl.latency.Timings.load(DATA / "latency" / "mobile_cpu.csv")
    repeats, (fit, test) = timings.repeats(), latency_model.split(timings)
    chosen = lambda indices: ([timings.architectures[i] for i in indices], repeats[indices])
    model = pl.latency.Model().fit(*chosen(fit))
    report = model.report(*chosen(test))
    assert len(fit) == 4000 and len(test) == stored["test"]["networks"]
    for name in ("mean", "rmse", "rmse/mean", "kendall tau", "noise", "noise, split-half"):
        assert report[name] == pytest.approx(stored["test"][name], rel=1e-4), name
    few = np.mean([pl.latency.Model().fit(*chosen(part)).report(*chosen(test))["rmse"] for part in latency_model.parts(fit, 200)])
    assert few / report["rmse"] == pytest.approx(stored["rmse with 200 / with 4000"], rel=1e-4)
    drift = latency_model.visit_autocorrelation(timings, model, test)
    assert drift == pytest.approx(stored["autocorrelation of single visits, measured order"], abs=1e-4)


def test_two_tables_an_hour_apart():
    apart, stored = latency_model.tables_apart(), bench()["latency_model"]["tables an hour apart"]
    for which in ("raw", "after reference correction"):
        assert apart[which] == pytest.approx(stored[which], rel=1e-6)
    assert apart["raw"]["median"] / apart["after reference correction"]["median"] > 9


def test_pixel_1():
    if not (pl.runtime.default_root() / "mobile_trim.yaml").exists():
        pytest.skip("the released Pixel 1 table is not available")
    found, stored = latency_model.pixel1(), bench()["latency_model"]["pixel1"]
    assert found["leave one out"]["mean"] == pytest.approx(stored["leave one out"]["mean"], rel=1e-3) and found["leave one out"]["mean"] < 0.02
    ms = pd.read_csv(DATA / "results" / "pixel1.csv", comment="#", index_col="network").ms
    for name, row in found["predicted"].items():
        assert row["table and model, ms"] == pytest.approx(ms[name], rel=1e-3)


def test_the_animation_is_of_the_quick_preset():
    search = pl.presets.experiment("quick").search
    with Image.open(ROOT / "figures" / "alpha.gif") as movie:
        epochs = search.epochs + search.warmup_epochs
        assert movie.n_frames in (epochs, epochs + 1), "run make animation"  # the last one may be stored twice, as it rests


def test_the_lesson_on_cifar10():
    """Its networks are of one cost, the found one is above all others, and the header of notebook 03 has its time."""
    path = DATA / "results" / "cifar10_lesson.csv"
    metadata, rows = json.loads(path.read_text().split("\n")[0][2:]), pd.read_csv(path, comment="#", dtype={"choices": str}, index_col="network")
    space = pl.presets.experiment("lesson").space()
    for row in rows.itertuples():
        network = pl.Architecture.from_code(space, row.choices)
        assert (network.macs(), network.params()) == (row.macs, row.params) and abs(row.macs / rows.macs["found"] - 1) <= 0.05
    assert rows.choices.nunique() == len(rows) and (rows.seconds.sum() + metadata["search_seconds"]) / 60 < metadata["minutes"]
    assert rows.test_accuracy.idxmax() == "found"
    has_numbers("03", metadata["minutes"])


def test_short_searches_on_images_of_imagenet():
    """With seed 1 the found network is above all random ones, with seed 0 among them; both cost 97 % of the target."""
    above, minutes = [], []
    for _, run in pd.read_csv(DATA / "results" / "mobile_lesson.csv", comment="#").groupby("run"):
        own, others = run[run.network == "found"].iloc[0], run.test_accuracy[run.network != "found"]
        assert len(others) == 3 and round(100 * own.macs / own.target_macs) == 97
        above.append(own.test_accuracy > others.max())
        minutes.append(round((run.seconds.sum() + own.search_seconds) / 60))
    assert above == [False, True]
    has_numbers("06", max(minutes))


def test_which_searches_on_cifar10_are_tied_with_the_best():
    """One of the few ties is `combined`'s; at equal cost the cheap gradient rules are tied, for less than 1/50 of the table."""
    truth, runs = ground_truth.load("cifar10"), ground_truth.read(ground_truth.FOLDER / "cifar10.csv")
    found = ground_truth.score(truth, ground_truth.read_searches(DATA / "results" / "searches_cifar10.csv"))
    noise, medians = 2 * ground_truth.seed_sd(truth), found.groupby("method")[["regret", "in_band", "cost", "better"]].median()
    cheap = medians.index[(medians.in_band <= noise) & (medians.cost <= len(runs) / 50)]
    assert {"two_path", "trapezoid"} <= set(cheap) and (medians.better[["two_path", "trapezoid"]] <= 0.01).all()
    assert medians.index[medians.regret <= noise].tolist() == ["combined"]
    assert 0.25 < found.tied.mean() < 1 / 3  # TEACHING: fewer than a third


def test_the_searches_in_the_tree_space():
    """Only the gradient rule without latency is above chance, by 2.7 points; the paper's run is far larger."""
    rows = cifar10_tree_rows.Runs.read(DATA / "results" / "cifar10_tree.csv")
    metadata = rows.attrs
    found, target = cifar10_tree_rows.pairs(rows), metadata["setting"]["target_ms"]
    assert found.groupby("seed").size().eq(4).all() and len(rows) == 4 * 4 * found.seed.nunique()
    test = cifar10_tree_rows.difference(found[(found.rule == "two_path") & (found.cost == "none")])
    assert round(100 * test["mean"], 1) == 2.7 and round(1 - (1 - test["p"]) ** 4, 1) == 0.1, "among four tests in one case of ten"
    above = (found.found > found.randoms.map(max)).groupby([found.rule, found.cost]).all()
    low = found.groupby(["rule", "cost"])[["found", "random"]].apply(lambda pairs: cifar10_tree_rows.difference(pairs)["low"])
    assert above[above].index.tolist() == low[low > 0].index.tolist() == [("two_path", "none")]
    aimed = found[found.cost == "ms"]
    assert (aimed.price / target).between(0.96, 1.06).all()
    assert [round(100 * (own.random_price / own.price).mean() - 100) for _, own in aimed.groupby("rule")] == [4, 4]
    here, paper_scale = cifar10_tree_rows.scale_here(metadata), cifar10_tree_rows.scale_of(pl.presets.experiment("paper"), 45_000, 5_000)
    assert all(100 < paper_scale[what] / here[what] < 1000 for what in ("images in weight steps of a search", "images in a training"))
    assert cifar10_tree_rows.RELEASED["macs"] / rows[rows.role == "found"].macs.mean() > 100
    assert all(1000 < hours < 10_000 for hours in cifar10_tree_rows.hours_of_table_1(metadata, rows))
    has_numbers("09", f"{100 * test['mean']:.1f}")


def test_nothing_is_left_to_be_filled_in():
    for page in PAGES:
        assert not re.search(r"… (s|min)\b|TODO|XXX", text(page)), page


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
    return [line.replace("$DATA", "/path/to/images") for line in lines if re.match(r"(\S*/)?(make|python|torchrun|papermill|proxyless-\w+) ", line) and "…" not in line]


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
        elif words[0].startswith("proxyless-") or "-m" in words and words[words.index("-m") + 1].startswith("proxyless_lite"):
            script = words[0].startswith("proxyless-")
            module, *arguments = [words[0].replace("proxyless-", "proxyless_lite."), *words[1:]] if script else words[words.index("-m") + 1:]
            try:
                parser_of(module).parse_args(arguments)
            except SystemExit as exit:
                assert exit.code == 0, f"{page}: {command}"
        elif words[1:2] and words[1].endswith("/run.py"):  # of a kit
            importlib.import_module("proxyless_lite.latency.run").parser().parse_args(words[2:])
        elif "-m" not in words and words[0].endswith("python"):
            assert (ROOT / words[1]).exists(), f"{page}: {command}"


def check_make(words, command):
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), flags=re.M))
    settings = set(re.findall(r"\$\((?:notdir )?([A-Z]+)\)", (ROOT / "Makefile").read_text()))
    for word in words:
        assert word.partition("=")[0] in (settings if "=" in word else targets), command


@pytest.mark.parametrize("dataset, folder", [
    (None, "choose-digits-quick-0"), ("digits", "choose-digits-quick-0"), ("/a/scans/", "choose-scans-lesson-0"), ("my photos", "choose-my_photos-lesson-0"),
    ("/a/other photos", "choose-other_photos-lesson-0"), ("my digits", "choose-my_digits-lesson-0"), ("it's é", "choose-it's_é-lesson-0")])
def test_make_search_gives_each_dataset_its_own_run_folder(dataset, folder, tmp_path):
    """Through a Python that prints what it is given; None: as README has it, without DATASET."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/installed").touch()
    python = tmp_path / ".venv/bin/python"
    python.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    python.chmod(0o755)
    done = subprocess.run(["make", "-f", ROOT / "Makefile", "-o", "pyproject.toml", "search", *([f"DATASET={dataset}"] if dataset else [])], cwd=tmp_path,
                          env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True)
    words = done.stdout.splitlines()
    assert words[words.index("dataset") + 1] == (dataset or "digits") and words[words.index("--out") + 1] == f"runs/{folder}"


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
        has_numbers(page, f"{scope['net'].entropy():.2f}", *(f"{p:.2f}" for p in scope["net"].probability_matrix()[0, :2].tolist()))


def test_python_blocks_of_the_docs_are_code_and_name_what_is_there():
    for block in blocks("docs/python.md", "python"):
        compile(block, "docs/python.md", "exec")
        for name in set(re.findall(r"\bpl((?:\.\w+)+)", block)):
            thing = pl
            for part in name.strip(".").split("."):
                assert hasattr(thing, part), f"docs/python.md: pl{name}"
                thing = getattr(thing, part)

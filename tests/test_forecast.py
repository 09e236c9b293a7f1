"""The forecast of presets, the ImageNet presets, and their command line."""

import json
import subprocess
import sys

import pandas as pd
import pytest
import torch
from PIL import Image

import proxyless_lite as pl
from proxyless_lite import presets
from proxyless_lite.course import notebook
from proxyless_lite.search import forecast
from proxyless_lite.search.__main__ import main
from proxyless_lite.search.__main__ import parser

SMALL = presets.replace(presets.mobile("quick"), width=0.1, image_size=32, images=1_000)


def test_hours_are_images_over_images_per_second():
    row = forecast.forecast({"small": SMALL}, pl.runtime.engine("cpu"), batch=8, steps=2, say=lambda *_, **__: None).loc["small"]
    search = SMALL.search
    weight_images = 900 * (search.epochs + search.warmup_epochs)
    alpha_images = 900 / search.batch_size / search.alpha_every * search.epochs * search.alpha_batch_size
    assert row["hours"] * 3600 == pytest.approx(weight_images / row["images/s"] + alpha_images / row["α images/s"], rel=1e-6)
    assert row["training hours"] * 3600 == pytest.approx(1_000 * SMALL.train.epochs / row["images/s"], rel=1e-6)
    assert row["GPU-hours"] == row["hours"]


def test_of_imagenet_50_000_images_learn_alpha():
    large = presets.replace(SMALL, images=1_000_000, search=presets.replace(SMALL.search, alpha_delay=99))
    row = forecast.forecast({"large": large}, pl.runtime.engine("cpu"), batch=2, steps=1, say=lambda *_, **__: None).loc["large"]
    assert row["hours"] * 3600 == pytest.approx(950_000 * (large.search.epochs + large.search.warmup_epochs) / row["images/s"], rel=1e-6)


def test_memory_grows_with_the_batch_and_shrinks_with_parts():
    def gigabytes(batch, grad_accumulation=1):
        experiment = presets.replace(SMALL, search=presets.replace(SMALL.search, batch_size=batch))
        return forecast.forecast({"x": experiment}, pl.runtime.engine("cpu", grad_accumulation=grad_accumulation), 2, 1, lambda *_, **__: None)["GB"]["x"]
    small, large = gigabytes(32), gigabytes(320)
    assert 5 < large / small < 10.5 and gigabytes(320, 10) == pytest.approx(small, rel=0.3)  # other paths are drawn each time


def test_the_estimate_of_memory_is_what_autograd_keeps():
    search = pl.Search(pl.SuperNet(SMALL.space(10)), forecast.made_up(10, 32, 64), config=presets.replace(SMALL.search, batch_size=16), device="cpu")
    images, labels = search.weight_batches[0]
    search.net.activate([0] * 21)
    kept = pl.runtime.saved_bytes(lambda: search.net(images), exclude=search.net.parameters()) / len(images)
    assert search.kept_per_image() == pytest.approx(1.5 * kept, rel=0.05)


def test_with_recomputation_memory_is_inputs_of_edges_and_the_largest_edge():
    def kept(edges, activation_checkpointing):
        space = pl.spaces.chain(edges, 8, input_size=32, candidates=("MB3 3x3",))
        search = pl.Search(pl.SuperNet(space), forecast.made_up(10, 32, 64), device=pl.runtime.engine("cpu", activation_checkpointing=activation_checkpointing))
        return search.kept_per_image()
    assert kept(1, True) == pytest.approx(kept(1, False), rel=1e-3)  # one edge is kept whole while it is computed again
    path, again = (kept(5, activation_checkpointing) - kept(1, activation_checkpointing) for activation_checkpointing in (False, True))
    assert 0 < again < path / 6


def test_the_paper_preset_is_the_released_one():
    paper = presets.mobile("paper")
    assert (paper.width, paper.image_size, paper.stages) == (1.0, 224, pl.spaces.MOBILE_STAGES)
    s, t = paper.search, paper.train
    assert (s.warmup_epochs, s.epochs, s.warmup_lr, s.lr, s.batch_size, s.alpha_every) == (40, 120, 0.05, 0.025, 256, 5)  # FACTS of the released code
    assert (s.weight_decay, s.label_smoothing, s.alpha_lr, s.alpha_delay) == (4e-5, 0.1, 1e-3, 1)
    assert (t.epochs, t.lr, t.batch_size, t.weight_decay, t.decay_norms, t.label_smoothing) == (300, 0.05, 256, 4e-5, False, 0.1)
    assert (paper.form, paper.weight) == ("mul#log", 0.3)


def test_the_target_is_a_share_of_a_random_networks_cost():
    space = SMALL.space(10)
    objective = SMALL.objective(space)
    net = pl.SuperNet(space)
    net.set_alpha(torch.zeros(21, 7))
    assert objective.target == pytest.approx(0.6 * objective.costs.expected(net).item(), rel=1e-6)
    assert SMALL.objective(space, target=123.0).target == 123.0
    assert SMALL.objective(space, "params").costs.unit == "params"


def run(tmp_path, *arguments):
    main(["--space", "mobile", "--width", "0.1", "--images", "200", "--epochs", "1", "--warmup-epochs", "1", "--device", "cpu", "--out",
          str(tmp_path / "run"), *arguments])


def test_the_command_line_searches_the_mobile_space_for_a_cost(tmp_path, capsys):
    run(tmp_path)
    said = capsys.readouterr().out
    found = pl.Architecture.load(tmp_path / "run/architecture.json")
    assert found.space.name == "mobile" and found.space.settings["width"] == 0.1
    assert f"cost {float(found.macs()):.4g} MACs" in said and "images/s" in said
    header = (tmp_path / "run/history.csv").read_text().splitlines()[0]
    assert "expected_cost" in header and "derived_cost" in header


@pytest.mark.slow
def test_another_preset_in_the_same_folder_is_refused(tmp_path):
    run(tmp_path)
    with pytest.raises(ValueError, match="configuration: .*objective"):
        run(tmp_path, "--target", "1e6")
    with pytest.raises(ValueError, match="configuration: "):
        main(["--preset", "quick", "--data", "digits", "--epochs", "1", "--out", str(tmp_path / "run"), "--device", "cpu"])


@pytest.mark.parametrize("wrong, told", [
    (["--blocks", "3"], "--blocks .*--space tree"),
    (["--costs", "macs", "--form", "linear", "--weight", "-1"], "-1"),
    (["--grad-accumulation", "5"], "a batch of 32 .* 5 "),
    (["--width", "0"], "width.*above 0"),
    (["--data", "nowhere"], "'nowhere'.*digits, cifar10, imagenet"),
    (["--images", "3"], "3 images asked for, of .* allowed: 10 to")])
def test_bad_input_is_one_line(tmp_path, wrong, told):
    with pytest.raises(ValueError, match=told) as caught:
        run(tmp_path, *wrong)
    assert "\n" not in str(caught.value)


def test_a_run_folder_is_needed_except_for_a_forecast():
    with pytest.raises(ValueError, match="--out"):
        main(["--device", "cpu"])
    assert "--sync-batch-norm" in parser().format_help()


def test_a_forecast_refuses_options_that_it_does_not_use():
    with pytest.raises(ValueError, match="leave out --rule, --epochs, or start the search"):
        main(["--forecast", "--device", "cpu", "--rule", "exact", "--epochs", "3"])


@pytest.mark.slow
def test_forecast_on_the_command_line_names_every_preset(monkeypatch, capsys):
    monkeypatch.setitem(forecast.ALL, "mobile", {"quick": SMALL, "lesson": presets.replace(SMALL, width=0.15)})
    main(["--space", "mobile", "--forecast", "--device", "cpu"])
    said = capsys.readouterr().out
    assert "quick" in said and "lesson" in said and "GPU-hours" in said and "200" in said


def test_digits_as_images_are_the_digits(tmp_path, monkeypatch):
    folder = pl.data.digits_as_images(tmp_path / "digits")
    images, digits = pl.data.load(folder, valid=0.25), pl.data.load("digits")
    assert len(images.test) == len(digits.test) == 360 and images.classes == digits.classes
    assert not images.flip  # a mirrored 2 is no digit
    ours, theirs = (sorted(map(bytes, d.test.images.flatten(1).numpy())) for d in (images, digits))
    assert ours == theirs  # PNG loses nothing
    first = (folder / "test/0").glob("*.png").__next__().stat().st_mtime_ns
    save, missing = Image.Image.save, next(folder.glob("train/3/*.png"))
    missing.unlink()

    def killed(image, where, *rest):
        save(image, where, *rest)
        raise KeyboardInterrupt
    monkeypatch.setattr(Image.Image, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        pl.data.digits_as_images(folder)
    assert not missing.exists()  # rather than cut short for ever
    monkeypatch.undo()
    pl.data.digits_as_images(tmp_path / "digits")
    assert missing.exists() and len(pl.data.load(folder).full_train) == 1437
    assert (folder / "test/0").glob("*.png").__next__().stat().st_mtime_ns == first  # written once


def test_custom_stages():
    stages = ((16, 2, 1), (32, 3, 2))
    space = pl.spaces.mobile(0.5, 10, 32, stages=stages)
    assert [(e.out_channels, e.stride) for e in space.edges()] == [(8, 1), (8, 1), (16, 2), (16, 1), (16, 1)]
    assert [("Zero" in e.candidates) for e in space.edges()] == [True, True, False, True, True]
    assert pl.SuperNet(space).check((3, 32, 32)) == (10,)
    found = pl.Architecture(space, ("MB3 3x3",) * 5)
    assert named(found) == space and found.build()(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    for wrong in ((), ((16, 0, 1),), ((16, 2, 3),), ((16, 2),)):
        with pytest.raises(ValueError, match="stages"):
            pl.spaces.mobile(stages=wrong)


def named(architecture):
    """The space after a trip through JSON."""
    settings = json.loads(json.dumps({"name": architecture.space.name, **architecture.space.settings}))
    return pl.architecture.named_space(**settings)


def test_an_error_on_the_command_line_is_one_line_and_status_1(tmp_path):
    done = subprocess.run([sys.executable, "-m", "proxyless_lite.search", "--space", "mobile", "--epochs", "0", "--device", "cpu",
                           "--out", str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr.startswith("error: SearchConfig(epochs=0): must be above 0") and done.stderr.count("\n") == 1


def test_a_network_may_be_given_any_width():
    at = {width: pl.spaces.mobile(width, 10, 32) for width in (0.1, 0.15, 0.25, 0.4, 1.0, 1.4)}
    candidates = {tuple(edge.candidates for edge in space.edges()) for space in at.values()}
    assert len(candidates) == 1  # at 0.25 stages 3 and 4 have the same width by chance; that must not add a choice
    (only,) = candidates
    shallow = tuple(names[-1] for names in only)
    for space in at.values():
        assert pl.Architecture(space, shallow).build().eval()(torch.randn(1, 3, 32, 32)).shape == (1, 10)


def test_the_lesson_runs_that_are_kept_have_the_cost_they_say():
    runs = pd.read_csv(notebook.DATA / "results" / "mobile_lesson.csv", comment="#", dtype={"choices": str})
    space = presets.mobile("lesson").space(20)
    objective = presets.mobile("lesson").objective(space)
    for _, run in runs.groupby("run"):
        networks = [pl.Architecture(space, tuple(e.candidates[int(d)] for e, d in zip(space.edges(), row))) for row in run.choices]
        assert run.macs.to_list() == [n.macs() for n in networks] and run.params.to_list() == [n.params() for n in networks]
        assert run.network.to_list() == ["found", "random 1", "random 2", "random 3"] and run.choices.nunique() == 4
        assert abs(run.macs.iloc[0] / objective.target - 1) <= 0.05 and (abs(run.macs / run.macs.iloc[0] - 1) <= 0.05).all()

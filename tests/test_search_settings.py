"""benchmarks/search_settings.py: a row per search, resumed; what it sums up of the committed rows, by hand."""

from dataclasses import replace

import pandas as pd
import pytest
import search_settings
from truth_runs import MINI

from proxyless_lite import ground_truth
from proxyless_lite.ground_truth import searches
from proxyless_lite.runtime import tables

QUICK = dict(epochs=1, warmup_epochs=0, alpha_every=1, alpha_lr=0.05, batch_size=50)
FAR = dict(alpha_lr=3.0, epochs=4)


@pytest.fixture
def mini(monkeypatch):
    monkeypatch.setitem(searches.CONFIG, "digits", QUICK)
    monkeypatch.setattr(search_settings, "SETTING", MINI)
    monkeypatch.setattr(search_settings, "VARIANTS", [("two_path", {}), ("exact", FAR)])


def test_rows_say_what_was_changed_and_hold_what_that_search_gives(mini):
    images = MINI.load()
    (method, changed, seed, *cells), = search_settings.start(MINI)(("exact", FAR, 1))
    assert (method, changed, seed) == ("exact", "alpha_lr=3.0 epochs=4", 1)
    network, _, shared = searches.outcome(MINI, "exact", 1, images, **FAR)
    assert [cells[0], cells[2]] == [network, shared]
    assert shared != searches.outcome(MINI, "exact", 1, images)[2]


def test_the_table_is_filled_seed_by_seed_and_resumed(mini, tmp_path, monkeypatch):
    monkeypatch.setattr(search_settings, "start", lambda setting: None)
    monkeypatch.setattr(tables, "pool", lambda start, tasks, workers: (
        asked.append((method, seed)) or (method, search_settings.told(changes), seed, "12", 1.0, "1 2") for method, changes, seed in tasks))
    for seeds, expected in ((1, [("two_path", 0), ("exact", 0)]), (3, [("two_path", 1), ("exact", 1), ("two_path", 2), ("exact", 2)]), (3, [])):
        asked = []
        search_settings.build(tmp_path / "rows.csv", seeds, 1, "a command")
        assert asked == expected
    rows = search_settings.read(tmp_path / "rows.csv")
    assert len(rows) == 6 and rows.attrs["setting"]["search"] == QUICK and rows.changed.unique().tolist() == ["nothing", "alpha_lr=3.0 epochs=4"]
    assert set(rows.network) == {"12"}


def test_real_searches_are_run_in_a_worker(mini, tmp_path, monkeypatch):
    monkeypatch.setattr(search_settings, "VARIANTS", [("one_shot", dict(epochs=2))])
    search_settings.build(tmp_path / "rows.csv", 1, 1, "a command")
    rows = search_settings.read(tmp_path / "rows.csv")
    assert rows[["method", "changed", "seed"]].values.tolist() == [["one_shot", "epochs=2", 0]] and rows.network[0] in MINI.networks()


def test_every_variant_is_a_search_of_its_own():
    for method, changes in search_settings.VARIANTS:
        usual = searches.config_of(search_settings.SETTING, method)
        assert all(getattr(usual, name) != value for name, value in changes.items()) and replace(usual, **changes)
    assert len({(method, search_settings.told(changes)) for method, changes in search_settings.VARIANTS}) == len(search_settings.VARIANTS)


def test_the_summary_by_hand():
    truth, rows = ground_truth.load("cifar10"), search_settings.read(search_settings.PATH)
    assert rows.attrs["setting"] == search_settings.SETTING.describe() | {"search": searches.CONFIG["cifar10"]}
    table, short = search_settings.summary(search_settings.PATH), "epochs=4 warmup_epochs=4 alpha_every=1"
    assert table.searches.sum() == len(rows) and table.index.get_level_values("trial").is_monotonic_increasing
    own = rows[(rows.method == "trapezoid") & (rows.changed == short) & (rows.seed >= 100)]
    line = table.loc[True, "trapezoid", short]
    regrets = 100 * (truth["mean"].max() - truth["mean"][own.network]).to_numpy()
    assert (line.searches, line["median"], line.worst) == (len(own), pytest.approx(pd.Series(regrets).median()), pytest.approx(regrets.max()))
    assert line.cost == pytest.approx(own.seconds.median() / truth.seconds.mean()) and len(own) == 4


def test_the_command_prints_the_summary(capsys):
    search_settings.main(["--summary"])
    assert capsys.readouterr().out.rstrip("\n") == search_settings.summary(search_settings.PATH).round(2).to_string()

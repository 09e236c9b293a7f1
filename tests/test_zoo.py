"""The released networks as data, against the released files and torchvision's counts."""

import json
from pathlib import Path

import pytest

import proxyless_lite as pl

RELEASED = Path(__file__).resolve().parents[1].parent / "shared/data/released"
NETWORKS = ("gpu", "cpu", "mobile", "mobile_14")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_that_of_the_released_file(name):
    path = RELEASED / f"proxyless_{name}.config"
    if not path.exists():
        pytest.skip("the released configurations are not at hand")
    found = getattr(pl.zoo, f"proxyless_{name}")()
    released = pl.Architecture.from_released(json.loads(path.read_text()))
    assert found == released and str(found) == str(released)


@pytest.mark.parametrize("name, params, macs", [("gpu", 7_119_848, 465_260_160), ("cpu", 4_361_648, 439_243_864),
                                                ("mobile", 4_080_512, 320_427_584), ("mobile_14", 6_857_568, 580_883_408)])
def test_counts(name, params, macs):
    found = getattr(pl.zoo, f"proxyless_{name}")()
    assert (found.params(), found.macs()) == (params, macs)

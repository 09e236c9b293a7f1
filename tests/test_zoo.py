"""The released networks as data, against the released files; the networks they are compared with; all of their counts."""

import json
from pathlib import Path

import pytest
import torch

import proxyless_lite as pl
from proxyless_lite.zoo import weights as released
from proxyless_lite.architecture import count_macs

RELEASED = Path(__file__).resolve().parents[1].parent / "shared/data/released"


@pytest.mark.parametrize("name", released.NETWORKS)
def test_a_network_is_that_of_the_released_file(name):
    path = RELEASED / f"{name}.config"
    if not path.exists():
        pytest.skip("the released configurations are not at hand")
    found = getattr(pl.zoo, name)()
    expected = pl.Architecture.from_released(json.loads(path.read_text()))
    assert found == expected and str(found) == str(expected) and found.name == name


@pytest.mark.parametrize("name, params, macs", [("gpu", 7_119_848, 465_260_160), ("cpu", 4_361_648, 439_243_864),
                                                ("mobile", 4_080_512, 320_427_584), ("mobile_14", 6_857_568, 580_883_408)])
def test_counts(name, params, macs):
    found = getattr(pl.zoo, f"proxyless_{name}")()
    assert (found.params(), found.macs()) == (params, macs)


@pytest.mark.parametrize("name, params, macs", [
    ("mobilenet_v2_0.35", 1_677_128, 59_285_808), ("mobilenet_v2_0.5", 1_968_680, 97_131_840),
    ("mobilenet_v2_0.75", 2_636_424, 209_069_792), ("mobilenet_v2_1.0", 3_504_872, 300_774_272),
    ("mobilenet_v2_1.3", 5_386_792, 509_374_560), ("mobilenet_v2_1.4", 6_108_776, 582_195_824),
    ("mnasnet_1.0", 4_383_312, 314_415_872),
    ("resnet_34", 21_797_672, 3_663_761_408), ("shufflenet_v2_1.5", 3_503_624, 295_759_392)])
def test_counts_of_the_baselines(name, params, macs):
    with torch.device("meta"):
        module = pl.zoo.baseline(name).eval()
    assert sum(p.numel() for p in module.parameters()) == params
    assert count_macs(module, torch.empty(1, 3, 224, 224, device="meta")) == macs


def test_an_unknown_baseline_is_told_in_one_line():
    with pytest.raises(ValueError, match="unknown baseline 'resnet_50'; allowed: mobilenet_v2_0.35, .*shufflenet_v2_1.5$"):
        pl.zoo.baseline("resnet_50")

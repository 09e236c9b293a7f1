"""tools/generated.py: the pages hold the numbers of the stored tables, and an altered number reaches them."""

import importlib.util
import json
import re
import shutil

import pytest
from pages import ROOT

spec = importlib.util.spec_from_file_location("generated", ROOT / "tools" / "generated.py")
generated = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generated)
TABLES = ROOT / "proxyless_lite" / "tables"


@pytest.fixture
def copy(tmp_path):
    """The pages and the stored tables of results and ground truth, to be altered."""
    for folder in ("results", "ground_truth"):
        shutil.copytree(TABLES / folder, tmp_path / "proxyless_lite" / "tables" / folder)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for page in ("README.md", "proxyless_lite/tables/README.md"):
        shutil.copy(ROOT / page, tmp_path / page)
    return tmp_path


def test_renewing_changes_nothing_and_an_altered_number_reaches_the_page(copy):
    assert generated.main(copy) == [], "run make numbers"
    path = copy / "proxyless_lite" / "tables" / "results" / "bench.json"
    bench = json.loads(path.read_text())
    bench["latency_model"]["cpu"]["test"]["rmse"] = 0.777
    path.write_text(json.dumps(bench))
    assert generated.main(copy) == ["docs/measurements.md"] and generated.main(copy) == []
    old, new = ((root / "docs" / "measurements.md").read_text().splitlines() for root in (ROOT, copy))
    changed = [line for was, line in zip(old, new, strict=True) if was != line]
    assert len(changed) == 1 and "| 0.777 |" in changed[0]


@pytest.mark.parametrize("old, new, told", [
    ("<!-- generated: tree -->", "<!-- generated: bush -->", "measurements.md: .*'bush'; allowed: .*tree"),
    ("<!-- generated: tree -->\n", "", "measurements.md: "), ("<!-- end -->", "", "measurements.md: "),
    ("<!-- generated: tree -->.*?<!-- end -->", "", "no page has the block tree")])
def test_a_block_that_is_unknown_or_missing_is_told_in_one_line(copy, old, new, told):
    page = copy / "docs" / "measurements.md"
    page.write_text(re.sub(old, new, page.read_text(), count=1, flags=re.DOTALL))
    with pytest.raises(ValueError, match=told) as caught:
        generated.main(copy)
    assert "\n" not in str(caught.value)

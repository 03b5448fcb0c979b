"""The dialog of the explorer that exports a subset, in a real browser."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Page, expect

from store.workspace import Workspace
from tests.helpers.chromium import search_address
from tests.helpers.served import served

pytestmark = pytest.mark.slow


def test_a_subset_is_exported_with_progress(page: Page, stored: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "exports"
    with served(stored.root, exports=folder) as running:
        page.goto(search_address(running, inputs=[{"text": "a red square"}], limit=3))
        page.get_by_role("button", name="Export …").click()
        dialog = page.get_by_role("dialog", name="Export the samples of this query")
        dialog.get_by_label("Best results").fill("4")
        dialog.get_by_label("Format").select_option("parquet")
        dialog.get_by_role("button", name="Start the export").click()
        expect(dialog.get_by_role("progressbar")).to_be_visible()
        expect(dialog.get_by_role("status")).to_contain_text("of the server's exports")
        expect(dialog.get_by_role("status")).to_contain_text("4 samples as parquet")
        (written,) = folder.iterdir()
        assert written.name in dialog.get_by_role("status").inner_text()
        dialog.get_by_role("button", name="Start the export").click()
        expect(dialog.get_by_role("button", name="Cancel the export")).to_be_visible()
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        page.get_by_role("button", name="Export …").click()  # the job is shown again
        dialog.get_by_role("button", name="Cancel the export").click()
        expect(dialog.get_by_role("status")).to_contain_text("was cancelled")
        assert list(folder.iterdir()) == [written]


def test_the_points_of_a_lasso_are_exported(page: Page, stored: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "exports"
    with served(stored.root, exports=folder) as running:
        everything = "-9,-9;9,-9;9,9;-9,9"
        page.goto(f"{running.url}/explorer/#/map?lasso={everything}")
        points = page.get_by_role("region", name="Points").get_by_role("heading")
        expect(points).to_contain_text("points in the lasso")
        title = points.inner_text()
        page.get_by_role("button", name="Export …").click()
        dialog = page.get_by_role("dialog", name=f"Export the samples of {title}")
        dialog.get_by_label("Format").select_option("parquet")
        dialog.get_by_role("button", name="Start the export").click()
        expect(dialog.get_by_role("status")).to_contain_text("of the server's exports")
        (written,) = folder.iterdir()
    exported = pq.read_table(written / "samples.parquet", columns=["id"])["id"].to_pylist()
    gallery = stored.tables.open("gallery__colours__image").to_table(columns=["id"])
    assert sorted(exported) == sorted(set(gallery["id"].to_pylist()))

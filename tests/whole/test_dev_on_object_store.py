"""`isotrope dev` on a corpus in an object store: the page makes all tables, search reads them."""

from pathlib import Path

import pytest

import isotrope
from pipelines.stages import staleness
from store.tables.stages import BY_DROP, GLOBAL
from store.workspace import Workspace
from tests.helpers.deployment import dev_page, wait_until
from tests.helpers.stores import S3Server
from tests.helpers.trio import deliver
from tests.whole.test_object_store import write_corpus


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_page_makes_all_tables_in_the_store(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_GRPC_TIMEOUT_SECONDS", "600")  # for a busy machine
    corpus = write_corpus(tmp_path / "remote", {"path": s3.folder(), "options": s3.options()})
    deliver(corpus.root / "drops" / "first", range(120))
    with dev_page(corpus.root) as page:
        wait_until(lambda: bool(page.query("{assetNodes {id}}").get("assetNodes")))
        run = page.launch([*BY_DROP, *GLOBAL], "first")
        assert page.wait(run) == "SUCCESS"
    corpus = Workspace.open(corpus.root)
    (drop,) = staleness.drops(corpus).values()
    assert staleness.stale(corpus, drop) == staleness.stale(corpus, None) == []
    assert sorted(p.name for p in corpus.root.iterdir()) == [".dagster", "corpus.yaml", "drops"]
    hits = isotrope.connect(corpus.root).search(text="topic 3 number 15").limit(5).to_list()
    assert len(hits) == 5
    assert hits[0]["key"].startswith("t03")  # of the topic

"""A corpus without captions has no pairs to choose a correction on, so its release is raw."""

from pathlib import Path

import isotrope
from store.workspace import Workspace
from tests.helpers.corpus import COLOURS, picture, write_config
from tests.helpers.stages import make_stale_stages


def test_it_is_searched_raw_and_the_release_says_why(tmp_path: Path, ray_cluster: None) -> None:
    write_config(tmp_path)
    drop = tmp_path / "drops" / "pictures"
    drop.mkdir(parents=True)
    for number in range(40):
        name = list(COLOURS)[number % 5]
        (drop / f"{name}-{number:02d}.png").write_bytes(picture(COLOURS[name], number))
    workspace = Workspace.open(tmp_path)
    make_stale_stages(workspace)
    corpus = isotrope.connect(tmp_path)
    for direction in corpus.release.directions.values():
        assert direction.method == "none"
        assert direction.reason.startswith("raw, because")
    hits = corpus.search(image=picture(COLOURS["red"], 5)).among("image").limit(3).run()
    assert hits.complete
    assert hits.rows["key"][0].as_py() == "red-05"
    assert next(iter(hits)).explain().parts[0].occurrence is None
    assert corpus.search(text="a red square number 5").among("any").limit(3).to_list()
    assert corpus.search(text="a red square number 5").among("text").to_list() == []
    assert corpus.release.evaluation["text->image"]["queries"] == 0

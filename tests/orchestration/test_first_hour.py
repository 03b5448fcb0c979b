"""What a newcomer sees first: `isotrope init` shows the source, `isotrope status` the corpus."""

import re
from pathlib import Path

from PIL import Image

from store.config import corpus_yaml
from tests.helpers.corpus import deliver
from tests.orchestration.test_cli import isotrope


def init(tmp_path: Path, *words: object) -> str:
    return isotrope("init", tmp_path / "corpus", "--from", tmp_path / "photos", *words)


def test_init_shows_what_the_records_are(tmp_path: Path) -> None:
    deliver(tmp_path / "photos", 5)
    (tmp_path / "photos" / "broken.png").write_bytes(b"\x89PNG cut")
    output = init(tmp_path)
    assert "6 of 6 records" in output
    assert re.search(r"image\W+5\W+24 to 24 pixels", output)
    assert re.search(r"text\W+5\W+en 100%", output)
    assert re.search(r"not usable\W+1\W+image\.", output)
    assert "no image or sound has a caption" not in output


def test_init_prints_large_numbers_without_exponents(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for side in (1190, 1250, 2400):
        Image.new("RGB", (side, side)).save(tmp_path / "photos" / f"{side}.png")
    output = " ".join(init(tmp_path).replace("│", " ").split())
    assert "1,190 to 2,400 pixels on the shorter side, half below 1,250" in output


def test_init_says_that_captions_are_missing(tmp_path: Path) -> None:
    deliver(tmp_path / "photos", 3)
    for caption in (tmp_path / "photos").glob("*.txt"):
        caption.unlink()
    assert "no image or sound has a caption" in " ".join(init(tmp_path).split())


def test_init_offers_the_names_of_files_as_captions(tmp_path: Path) -> None:
    deliver(tmp_path / "photos", 3)
    for caption in (tmp_path / "photos").glob("*.txt"):
        caption.rename(caption.with_suffix(".md"))
    assert "names of the files are words, such as 'blue'" in " ".join(init(tmp_path).split())
    (tmp_path / "corpus" / "corpus.yaml").unlink()
    output = init(tmp_path, "--captions", "names")
    assert re.search(r"text\W+3\W+en 100%", output)
    assert "no image or sound has a caption" not in output
    assert corpus_yaml.load(tmp_path / "corpus").sources["photos"].captions == "names"


def test_init_offers_one_drop_for_many_small_folders(tmp_path: Path) -> None:
    for number in range(12):
        deliver(tmp_path / "photos" / f"folder {number}", 2, first=2 * number)
    output = " ".join(init(tmp_path).split())
    assert "12 drops have 2 records each" in output
    assert re.search(r"all 12 drops\W+24\b", output)
    (tmp_path / "corpus" / "corpus.yaml").unlink()
    assert "--drop-by" not in init(tmp_path, "--drop-by", "source")
    assert corpus_yaml.load(tmp_path / "corpus").sources["photos"].drop_by == "source"


def test_a_new_corpus_compares_all_corrections(tmp_path: Path) -> None:
    deliver(tmp_path / "photos", 2)
    init(tmp_path)
    assert corpus_yaml.load(tmp_path / "corpus").corrections.methods is None


def test_status_of_a_new_corpus(tmp_path: Path) -> None:
    deliver(tmp_path / "photos", 2)
    init(tmp_path)
    output = isotrope("status", "--corpus", tmp_path / "corpus")
    assert re.search(r"samples\W+0\W+not made yet \(1 drops\)", output)
    assert "there is no release yet" in output
    assert "next: isotrope run" in output

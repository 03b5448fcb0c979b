"""A corpus of three modalities, embedded in one space after another, both to be searched."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

import isotrope
from orchestration.cli.main import main
from tests.helpers.towers import picture, save_clap, save_clip, tone

COUNT = 64
WORDS = ("tiger", "boat", "clock", "violin", "lamp", "river", "hat", "owl")


def configured(root: Path, space: str) -> None:
    clip, clap = root / "clip", root / "clap"
    spaces = {
        "local": {"preset": "local"},
        "clip": {
            "image": f"open_clip:local-dir:{clip}",
            "text": f"open_clip:local-dir:{clip}",
            "audio": {"encoder": f"clap:{clap}", "aligned_by": ["text", "image"]},
        },
    }
    config = {"sources": {"all": {"path": "drops"}}, "space": space, "spaces": spaces}
    (root / "corpus.yaml").write_text(yaml.safe_dump(config))


def run(*command: str) -> str:
    ran = CliRunner().invoke(main, command)
    assert ran.exit_code == 0, ran.output
    return ran.output


def delivered(root: Path, number: int, kind: str) -> Path:
    return root / "drops" / "first" / f"{number:03d}.{kind}"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_both_spaces_are_searched(tmp_path, ray_cluster):
    for folder in ("clip", "clap", "drops/first"):
        (tmp_path / folder).mkdir(parents=True)
    save_clip(tmp_path / "clip")
    save_clap(tmp_path / "clap")
    for number in range(COUNT):
        first, second = WORDS[number % 8], WORDS[number // 8]
        delivered(tmp_path, number, "png").write_bytes(picture(number))
        delivered(tmp_path, number, "txt").write_text(f"a {first} and a {second}, {number}")
        delivered(tmp_path, number, "wav").write_bytes(tone(100 + 40 * number, 0.5))
    configured(tmp_path, "local")
    run("run", "--corpus", str(tmp_path))
    configured(tmp_path, "clip")
    said = run("align", "--corpus", str(tmp_path))
    assert "audio->text" in said
    assert "audio->image" in said
    run("run", "--corpus", str(tmp_path))
    assert "everything is up to date" in run("run", "--corpus", str(tmp_path))
    for space in ("local", "clip"):
        corpus = isotrope.connect(tmp_path, space=space)
        assert corpus.release.space == space
        assert corpus.release.modalities == ["image", "text", "audio"]
        for number in (3, 40):
            picked = {
                m: delivered(tmp_path, number, k) for m, k in (("image", "png"), ("audio", "wav"))
            }
            for modality, file in picked.items():
                hits = corpus.search(**{modality: file}).among(modality).correct("none").limit(1)
                assert hits.to_list()[0]["key"] == f"{number:03d}"
            caption = delivered(tmp_path, number, "txt").read_text()
            (hit,) = corpus.search(text=caption).among("text").correct("none").limit(1).to_list()
            assert hit["caption"] == caption
            assert len(corpus.search(text=caption).among("any").limit(30).to_list()) == 30
    asked = ("search", "a tiger", "--json", "--corpus", str(tmp_path))
    assert run(*asked, "--space", "local") == run(*asked, "--release", "1")
    assert run(*asked, "--space", "local") != run(*asked, "--release", "2")
    refused = CliRunner().invoke(main, [*asked, "--release", "9"])
    assert "release 9 does not exist; available: 1, 2" in refused.output

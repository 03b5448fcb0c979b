"""One corpus with three modalities in two spaces, both of which can be searched."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

import isotrope
from orchestration.cli.main import main
from tests.helpers.towers import picture, save_clap, save_clip, tone

COUNT = 64
WORDS = ("tiger", "boat", "clock", "violin", "lamp", "river", "hat", "owl")


def configure(root: Path) -> None:
    clip, clap = root / "clip", root / "clap"
    spaces = {
        "local": {"preset": "local"},
        "clip": {
            "image": f"open_clip:local-dir:{clip}",
            "text": f"open_clip:local-dir:{clip}",
            "audio": {"encoder": f"clap:{clap}", "aligned_by": ["text", "image"]},
        },
    }
    config = {"sources": {"all": {"path": "drops"}}, "space": "local", "spaces": spaces}
    (root / "corpus.yaml").write_text(yaml.safe_dump(config))


def run(*command: str) -> str:
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    return result.output


def path_of(root: Path, number: int, kind: str) -> Path:
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
        path_of(tmp_path, number, "png").write_bytes(picture(number))
        path_of(tmp_path, number, "txt").write_text(f"a {first} and a {second}, {number}")
        path_of(tmp_path, number, "wav").write_bytes(tone(100 + 40 * number, 0.5))
    configure(tmp_path)
    unaligned = CliRunner().invoke(main, ["run", "--corpus", str(tmp_path)])
    assert unaligned.exit_code == 1
    assert "isotrope align" in unaligned.output
    assert isotrope.connect(tmp_path).release.space == "local"  # complete nevertheless
    output = run("align", "--space", "clip", "--corpus", str(tmp_path))
    assert "audio->text" in output
    assert "audio->image" in output
    run("run", "--corpus", str(tmp_path))
    assert "everything is up to date" in run("run", "--corpus", str(tmp_path))
    for space in ("local", "clip"):
        corpus = isotrope.connect(tmp_path, space=space)
        assert corpus.release.space == space
        assert corpus.release.modalities == ["image", "text", "audio"]
        for number in (3, 40):
            files = {
                m: path_of(tmp_path, number, k) for m, k in (("image", "png"), ("audio", "wav"))
            }
            for modality, file in files.items():
                hits = corpus.search(**{modality: file}).among(modality).correct("none").limit(1)
                assert hits.to_list()[0]["key"] == f"{number:03d}"
            caption = path_of(tmp_path, number, "txt").read_text()
            (hit,) = corpus.search(text=caption).among("text").correct("none").limit(1).to_list()
            assert hit["caption"] == caption
            assert len(corpus.search(text=caption).among("any").limit(30).to_list()) == 30
    command = ("search", "a tiger", "--json", "--corpus", str(tmp_path))
    assert run(*command, "--space", "local") == run(*command, "--release", "1")
    assert run(*command, "--space", "local") != run(*command, "--release", "2")
    result = CliRunner().invoke(main, [*command, "--release", "9"])
    assert "release 9 does not exist; available: 1, 2" in result.output

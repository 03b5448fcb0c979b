"""Every asset says what it is, whose it is, how it is made, and where to read on."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from assets.links import SECTIONS, anchor
from assets.materialise import STAGE
from orchestration.definitions import define
from store.config.corpus_yaml import parse
from store.errors import ConfigError
from store.tables.stages import BY_SPACE, STAGES
from tests.helpers.corpus import CONFIG

ROOT = Path(__file__).resolve().parents[2]
DESCRIBED = (
    CONFIG
    + """\
  other: {preset: local}
owners: [team:data, ada@example.org]
links: {runbook: "https://wiki.example.org/operations", server: "https://search.example.org/"}
"""
)


@pytest.fixture(autouse=True)
def instance() -> Iterator[None]:
    """Runs of other tests leave an instance behind that is closed, which definitions would use."""
    with dg.DagsterInstance.ephemeral():
        yield


def test_every_asset_has_description_owner_kinds_version_and_links(tmp_path):
    specs = list(define(parse(DESCRIBED), tmp_path).resolve_all_asset_specs())
    assert len(specs) == len(STAGES) + len(BY_SPACE) + 1  # two spaces, and `curation`
    for spec in specs:
        name = spec.key.to_user_string()
        assert len(spec.description or "") > 40, name
        assert spec.owners == ["team:data", "ada@example.org"], name
        assert spec.kinds & {"lance", "html"}, name
        assert (spec.code_version or "").isdigit(), name
        assert spec.group_name in {"by_drop", "corpus", "colours", "other"}, name
        section = anchor(SECTIONS[spec.tags[STAGE]])
        runbook = spec.metadata["runbook"].value
        assert runbook == f"https://wiki.example.org/operations#{section}", name
        assert spec.metadata["explorer"].value == "https://search.example.org/explorer/", name
        assert Path(spec.metadata["report"].value).parent in (tmp_path, tmp_path / "reports"), name


def test_without_addresses_the_section_of_the_runbook_is_named():
    for spec in define(None).resolve_all_asset_specs():
        assert "docs/operations.md, section" in spec.metadata["runbook"]
        assert not {"report", "explorer"} & spec.metadata.keys()


def test_every_linked_section_is_in_the_runbook():
    lines = (ROOT / "docs" / "operations.md").read_text().splitlines()
    assert set(SECTIONS.values()) <= {line.removeprefix("## ") for line in lines}


@pytest.mark.parametrize("address", ["ftp://wiki", "https://ada:secret@wiki.example.org"])
def test_addresses_with_passwords_and_other_schemes_are_refused(address):
    with pytest.raises(ConfigError, match=r"links\.runbook"):
        parse(CONFIG + f"links: {{runbook: {address!r}}}\n")

"""The check of licences reads what packages declare and what they ship."""

from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path

import pytest

from tools import check_licences
from tools.check_licences import Finding, find, findings, is_allowed, needed

AGPL = "                    GNU AFFERO GENERAL PUBLIC LICENSE\n  Version 3, 19 November 2007\n"


def package(folder: Path, name: str, metadata: str, licence: str) -> Distribution:
    """An installed package of one licence file."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    header = f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n"
    (info / "METADATA").write_text(header + metadata)
    (info / "LICENSE").write_text(licence + "x" * check_licences._LONGEST_NAME)
    (info / "RECORD").write_text(f"{info.name}/LICENSE,,\n{info.name}/METADATA,,\n")
    return PathDistribution(info)


def test_a_package_that_declares_mit_and_ships_the_agpl_is_found(tmp_path: Path) -> None:
    metadata = "License: MIT\nClassifier: License :: OSI Approved :: MIT License\n"
    (finding,) = findings(package(tmp_path, "nudenet", metadata, AGPL))
    assert finding == Finding("nudenet", "AGPL", "nudenet-1.0.dist-info/LICENSE")
    assert not is_allowed(finding)


def test_a_package_that_bundles_libraries_under_the_gpl_is_found() -> None:
    found = {Path(f.source).name.partition("-")[0] for f in findings(distribution("av"))}
    assert found == {"libx264", "libx265"}
    assert "av" not in needed(f"isotrope[{','.join(check_licences.EXTRAS)}]")


def test_a_package_is_found_by_its_metadata(tmp_path: Path) -> None:
    (finding,) = findings(package(tmp_path, "x", "License-Expression: GPL-3.0-or-later\n", ""))
    assert finding == Finding("x", "GPL", "metadata, License-Expression")


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("AGPL-3.0", "AGPL"),
        ("GPL-2.0-only", "GPL"),
        ("License :: OSI Approved :: GNU Affero General Public License v3", "AGPL"),
        ("License :: OSI Approved :: GNU General Public License v2 (GPLv2)", "GPL"),
        ("License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)", None),
        ("License :: OSI Approved :: GNU Library or Lesser General Public License (LGPL)", None),
        ("LGPL-2.1-or-later", None),
        ("MIT", None),
        (AGPL + "x" * 200, "AGPL"),
        ("modify it under the terms of the GNU General\nPublic License as published" * 9, "GPL"),
        ("GNU LESSER GENERAL PUBLIC LICENSE\nVersion 3\n" + "x" * 200, None),
        ('"Secondary License" means the GNU General Public License, Version 2.0' * 9, None),
    ],
)
def test_the_gpl_and_agpl_are_told_from_other_licences(text: str, licence: str | None) -> None:
    assert find(text) == licence


def test_an_exception_is_of_one_licence() -> None:
    assert is_allowed(Finding("numpy", "GPL", "LICENSE.txt"))
    assert not is_allowed(Finding("numpy", "AGPL", "LICENSE.txt"))


def test_what_is_needed_includes_extras_and_what_they_depend_on() -> None:
    corrections, client = needed("isotrope"), needed("isotrope[client]")
    everything = needed("isotrope[pipelines,demo]")
    assert corrections.keys() == {"isotrope", "numpy", "threadpoolctl"}
    assert {"isotrope", "lancedb", "pyarrow"} <= client.keys() <= everything.keys()
    assert "torch" not in client
    assert {"torch", "resvg-py", "jinja2", "markupsafe"} <= everything.keys()
    assert "nudenet" not in everything

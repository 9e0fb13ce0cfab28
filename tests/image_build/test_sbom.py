"""The bill of materials, the checksums, and what a comparison of two images says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from amphora_image import sbom
from amphora_image.build import write_sums
from amphora_image.payload import LOCK
from amphora_image.sbom import DebianPackage, PythonPackage
from amphora_image.verify import differing

STATUS = """\
Package: haproxy
Status: install ok installed
Architecture: amd64
Version: 3.0.11-1+deb13u1
Description: fast
 Status: deinstall

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""


def test_installed_packages_are_listed_and_removed_ones_are_not() -> None:
    packages = sbom.parse_status(STATUS)
    assert packages == (DebianPackage("haproxy", "3.0.11-1+deb13u1", "amd64"),)
    assert sbom.parse_dpkg(sbom.render_dpkg(packages)) == packages


def test_the_lock_is_read_whole() -> None:
    packages = sbom.parse_lock(LOCK.read_text())
    assert len(packages) == sum("==" in line for line in LOCK.read_text().splitlines())
    assert all(package.sha256 for package in packages)


def test_the_document_names_every_part_once_and_is_the_same_every_time() -> None:
    packages = (DebianPackage("haproxy", "1:3.0+x~1", "amd64"), PythonPackage("flask", "3.1.3", ("ab" * 32,)))
    made = {"options": "{}", "epoch": "1700000000"}
    text = sbom.render("image.qcow2", packages, made, 1_700_000_000)
    assert text == sbom.render("image.qcow2", packages, made, 1_700_000_000)
    document = json.loads(text)
    assert (document["bomFormat"], document["metadata"]["timestamp"]) == ("CycloneDX", "2023-11-14T22:13:20Z")
    assert [component["purl"] for component in document["components"]] == [
        "pkg:deb/debian/haproxy@1%3A3.0+x~1?arch=amd64",
        "pkg:pypi/flask@3.1.3",
    ]
    assert sbom.properties_of(text) == made
    assert sbom.properties_of("[]") == {}


def test_checksums_are_what_sha256sum_checks_and_older_ones_stay(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    two.write_text("2")
    write_sums(one)
    write_sums(two)
    one.write_text("changed")
    write_sums(one)
    done = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert sorted(done.stdout.splitlines()) == ["one: OK", "two: OK"]


def test_differing_packages_are_named() -> None:
    assert list(differing("a\t1\tamd64\nb\t1\tamd64\n", "a\t2\tamd64\nc\t1\tamd64\n")) == [
        "package a: 1 in the image, 2 now",
        "package b: 1 in the image, none now",
        "package c: none in the image, 1 now",
    ]

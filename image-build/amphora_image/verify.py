"""image-build/verify IMAGE: builds the image again, from nothing, and says whether it is the same, byte for byte.

How it was built is read in the bill of materials beside it. Run it in a checkout of the same commit, with a mirror in
the same state: another version of a package is another image, and is named.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from amphora_image import sbom
from amphora_image.build import Options, beside, build, content_hash, digest_of
from amphora_image.tools import CannotBuild


def main() -> int:
    """Carry out the command line: 0 the same, 1 another image, 2 it cannot be told."""
    parser = argparse.ArgumentParser(prog="verify", description="build an image again and compare")
    parser.add_argument("image", type=Path)
    image = parser.parse_args().image.absolute()
    try:
        differences = list(verify(image))
    except (CannotBuild, OSError) as error:
        sys.stderr.write(f"cannot verify: {error}\n")
        return 2
    sys.stdout.write("".join(f"{line}\n" for line in differences) or f"{image.name}: the same, byte for byte\n")
    return 1 if differences else 0


def verify(image: Path) -> Iterator[str]:
    """Yield what differs between the image and one that is built now.

    Raises:
        CannotBuild: there is no bill of materials that says how, or the build fails.
    """
    properties = sbom.properties_of(beside(image, "cdx.json").read_text())
    try:
        options = Options.parse(properties["options"])
    except (KeyError, ValueError, TypeError) as error:
        raise CannotBuild(f"{beside(image, 'cdx.json')} does not say how the image was built") from error
    if properties.get("content") != content_hash(options):
        yield "the checkout is not the one that the image was built from"
    os.environ["SOURCE_DATE_EPOCH"] = properties["epoch"]
    with tempfile.TemporaryDirectory(dir=image.parent) as work:
        again = Path(work) / image.name
        build(options, again, force=True)
        if digest_of(again) != digest_of(image):
            yield f"{image.name}: not the same bytes"
            yield from differing(beside(image, "packages").read_text(), beside(again, "packages").read_text())


def differing(before: str, after: str) -> Iterator[str]:
    """Yield a line for every package that is in one list only, or in another version."""
    one = {package.name: package.version for package in sbom.parse_dpkg(before)}
    two = {package.name: package.version for package in sbom.parse_dpkg(after)}
    for name in sorted(one.keys() | two.keys()):
        if one.get(name) != two.get(name):
            yield f"package {name}: {one.get(name, 'none')} in the image, {two.get(name, 'none')} now"


if __name__ == "__main__":
    sys.exit(main())

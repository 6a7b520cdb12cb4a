"""Refresh the JavaScript and fonts that the site serves itself, and what its tests use: ``make vendor``.

The site asks no other host for anything, and a build needs no npm; so the few files that its pages load are
committed here. This script fetches the packages with ``npm pack``, refuses one whose SHA-256 differs from
the one below, copies the files and rewrites the table in the README.md of their folder. To move to a new version, change version
and hash together.
"""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOR_TESTS = HERE.parents[2] / "tests" / "vendor"  # never served with the site

# package@version: (SHA-256 of the archive, license, {path in the archive or its folder: folder here})
FOR_SITE_PACKAGES = {
    "mathjax@3.2.2": (
        "1b9c0a1c44df864e915690558e72adb9cc5203360daefd385084ced3b6c64c09",
        "Apache-2.0",
        {
            # "-full" carries every TeX extension, so that none is fetched while a page is read
            "es5/tex-chtml-full.js": "mathjax",
            "es5/output/chtml/fonts/woff-v2/": "mathjax/output/chtml/fonts/woff-v2",
            "LICENSE": "mathjax",
        },
    ),
    "requirejs@2.3.8": (
        "777158e89275e16bd51aec3ef714fbcb5dc45789e7078659933bc814916d7dec",
        "MIT",
        {"require.js": "requirejs"},
    ),
    "@jupyter-widgets/html-manager@1.0.15": (
        "2b9d65cb7913e1c7d671757a10008b32c9c2448d4429513371e55c07d6107638",
        "BSD-3-Clause; its icon fonts (Font Awesome 5 Free) SIL OFL 1.1",
        {
            "dist/embed-amd.js": "widgets",
            "dist/embed.js.LICENSE.txt": "widgets",
            # the icons of buttons and of the Play widget: solid, regular, brands
            "dist/1551f4f60c37af51121f.woff2": "widgets",
            "dist/7a3337626410ca2f4071.woff2": "widgets",
            "dist/d878b0a6a1144760244f.woff2": "widgets",
        },
    ),
}

FOR_TESTS_PACKAGES = {
    "axe-core@4.10.3": (
        "0f2b4d7dcdf7d1219df8d1959ad68e565f51d14c3f0d88bb71cd59abeb956292",
        "MPL-2.0",
        {"axe.min.js": "axe-core", "LICENSE": "axe-core", "LICENSE-3RD-PARTY.txt": "axe-core"},
    ),
}


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetch(spec: str, digest: str, wanted: dict[str, str], folder: Path, home: Path) -> list[Path]:
    """Fetch one package, check its hash and copy the wanted files into `home`; the paths written."""
    printed = subprocess.run(["npm", "pack", "--silent", spec], cwd=folder, check=True, capture_output=True)
    archive = folder / printed.stdout.decode().split()[-1]
    if sha256(archive) != digest:
        sys.exit(f"{spec}: SHA-256 is {sha256(archive)}, expected {digest}; nothing of it was used")
    written = []
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            name = member.name.removeprefix("package/")
            target = wanted.get(name) or wanted.get(name.rpartition("/")[0] + "/")
            if target and member.isfile():
                path = home / target / Path(name).name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(tar.extractfile(member).read())
                written.append(path)
    return written


def refresh(home: Path, packages: dict) -> None:
    """Fetch the packages of one folder and rewrite the table in its README.md."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for spec, (digest, license_name, wanted) in packages.items():
            for path in sorted(fetch(spec, digest, wanted, Path(folder), home)):
                name = path.relative_to(home).as_posix()
                rows.append(f"| `{name}` | {spec} | {license_name} | `{sha256(path)}` |")
    readme = home / "README.md"
    head = readme.read_text(encoding="utf-8").partition("| file |")[0]
    table = "\n".join(["| file | package | license | SHA-256 |", "|---|---|---|---|", *rows])
    readme.write_text(f"{head}{table}\n", encoding="utf-8")


if __name__ == "__main__":
    refresh(HERE, FOR_SITE_PACKAGES)
    refresh(FOR_TESTS, FOR_TESTS_PACKAGES)

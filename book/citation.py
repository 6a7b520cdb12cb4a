"""What the site says about itself, from CITATION.cff alone: how to cite a page, and from where to launch it.

The project's public address is one setting, ``repository-code`` in CITATION.cff. While it is not set, pages are
cited without an address and carry no launch links: a link that leads nowhere is worse than none.
"""

from datetime import UTC, datetime
from pathlib import Path

import yaml

BRANCH = "main"
LAUNCH = {
    "notebook_interface": "jupyterlab",
    "binderhub_url": "https://mybinder.org",
    "colab_url": "https://colab.research.google.com",
}


def read(root: Path) -> dict:
    """Title, authors, version, date, and the addresses of repository and site (None where not set)."""
    cff = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    names = [a.get("name") or f"{a['given-names']} {a['family-names']}" for a in cff["authors"]]
    address, site = (str(cff.get(key) or "").rstrip("/") or None for key in ("repository-code", "url"))
    return {
        "title": cff["title"],
        "authors": names,
        "version": str(cff["version"]),
        "date": str(cff.get("date-released") or datetime.now(UTC).date()),  # of this build, before a release
        "repository": address,
        "site": site,
    }


def _checkout(address: str | None) -> str:
    """Where a reader gets the project from, as Markdown within a sentence."""
    return f"a checkout of [the repository]({address}) (`git clone {address}`)" if address else "a checkout"


def configure(config: dict, citation: dict) -> dict:
    """The book's configuration with authors, citation, where to get it and, where it can be, launch links.

    Binder opens any public repository; Colab reads from GitHub only.
    """
    sphinx = config.setdefault("sphinx", {}).setdefault("config", {})
    sphinx.setdefault("html_context", {})["citation"] = citation
    config["author"] = ", ".join(citation["authors"])
    sphinx["myst_substitutions"] = {"checkout": _checkout(citation["repository"])}
    if address := citation["repository"]:
        on_github = address.startswith("https://github.com/")
        # options of the theme that stand in the configuration replace those that jupyter-book would make
        sphinx.setdefault("html_theme_options", {}).update(
            repository_url=address,
            use_repository_button=True,
            repository_branch=BRANCH,
            launch_buttons={k: v for k, v in LAUNCH.items() if on_github or k != "colab_url"},
        )
    return config

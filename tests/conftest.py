"""Shared fixtures: the notebooks executed once at smoke scale, the site built from them, a browser."""

import os
import shutil
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import build
import pytest

from tests.helpers import NOTEBOOKS


def pytest_addoption(parser):
    about = "conformance of this estimator alone: a registered name, package.module:factory or file.py:factory"
    parser.addoption("--estimator", metavar="NAME", help=about)


def pytest_collection_modifyitems(config, items):
    """With --estimator: only the tests that take any estimator are run."""
    if config.getoption("--estimator"):
        items[:] = [item for item in items if "any_name" in item.fixturenames]


@pytest.fixture(autouse=True)
def closed_figures():
    """No test leaves a figure of pyplot open."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session", autouse=True)
def empty_model_folder(tmp_path_factory):
    """No test sees, or writes to, the networks that the user of this computer has trained."""
    os.environ["PRECISE_MODELS"] = str(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def executed(tmp_path_factory) -> tuple[Path, dict[str, dict]]:
    """Every notebook executed at smoke scale: the build folder, and what each run took or why it failed."""
    folder = tmp_path_factory.mktemp("book") / "_build"
    return folder, build.execute_all(NOTEBOOKS, "smoke", folder)


@pytest.fixture(scope="session")
def site(request) -> Path:
    """The built site: the one named by PRECISE_SITE, else one built from the smoke notebooks."""
    if os.environ.get("PRECISE_SITE"):
        return Path(os.environ["PRECISE_SITE"]).resolve()
    folder, runs = request.getfixturevalue("executed")
    errors = [run["error"] for run in runs.values() if run["error"]]
    assert not errors, "\n".join(errors)
    return build.publish(runs, folder.parent)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def address(site):
    """Address under which the site is served for the tests."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="session")
def browser():
    """The system's Chromium; tests that need it are skipped by name where there is none."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium on this machine: install the chromium package of your system")
    from playwright.sync_api import sync_playwright

    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", *quiet])
        yield browser
        browser.close()


@pytest.fixture
def precise(monkeypatch, capsys):
    """Run the console entry in this process; returns exit code, stdout, stderr."""
    from precise_lib import cli

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["precise", *map(str, arguments)])
        code = 0
        try:
            cli.app_main()
        except SystemExit as leaving:
            code = leaving.code or 0
        return code, *capsys.readouterr()

    return run

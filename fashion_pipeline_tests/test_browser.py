"""The Dagster UI on the demo's data, in a real browser: what people look at first, and the pictures of the docs."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from fashion_pipeline_tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

PICTURES = ROOT / "docs" / "images"
CLI = Path(sys.executable).with_name("fashion-pipeline")
PORT = 34567
WAIT = 90_000
#: Made anew only where asked for: a picture differs by a pixel each time.
WRITE = bool(os.environ.get("WRITE_SCREENSHOTS"))


def environment(folder: Path, data: Path) -> dict[str, str]:
    return {
        "PATH": f"{CLI.parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "FASHION_PIPELINE_PROFILE": "embedded",
        "FASHION_PIPELINE_DATA": str(data),
        "HF_HUB_OFFLINE": "1",
    }


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`fashion-pipeline dev` on a finished demo."""
    folder = tmp_path_factory.mktemp("browser")
    given = os.environ.get("DEMO_DATA")
    environ = environment(folder, Path(given) if given else folder / "data")
    if not given:
        subprocess.run(
            [str(CLI), "demo"], env=environ, cwd=folder, check=True, timeout=600, capture_output=True
        )
    with dev(environ, folder, PORT) as url:
        yield url


@contextmanager
def dev(environ: dict[str, str], folder: Path, port: int) -> Iterator[str]:
    """Address of a `fashion-pipeline dev`."""
    log = folder / "dev.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [str(CLI), "dev", "--port", str(port)],
            env=environ, cwd=folder, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        import urllib.request

        url = f"http://127.0.0.1:{port}"
        for _ in range(240):
            with suppress(OSError), urllib.request.urlopen(f"{url}/server_info", timeout=5):
                break
            assert process.poll() is None, log.read_text()[-3000:]
            time.sleep(1)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    """A page of Debian's Chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(WAIT)
        yield page
        browser.close()


def show(page: Any, name: str) -> None:
    """Keep what is seen, as a picture of the docs where told."""
    page.wait_for_timeout(1500)
    target = PICTURES / f"{name}.png" if WRITE else Path(os.devnull)
    picture = page.screenshot(path=str(target) if WRITE else None)
    assert len(picture) > 10_000


def test_the_graph_and_no_dialog(page: Any, address: str) -> None:
    page.goto(f"{address}/asset-groups")
    # Groups open on a click; the view of one group shows its assets.
    for group in ("feeds", "catalogue", "pictures", "index", "reports"):
        page.get_by_text(group, exact=True).first.wait_for()
    page.goto(f"{address}/locations/fashion_pipeline/asset-groups/feeds/lineage")
    for asset in ("raw_feeds", "clean_products"):
        page.get_by_text(asset).first.wait_for()
    assert page.get_by_text("newsletter").count() == 0
    show(page, "ui_graph")


def test_the_grid_of_days_and_stores(page: Any, address: str) -> None:
    page.goto(f"{address}/assets/products?view=partitions")
    page.get_by_text("2026-11-03").first.wait_for()
    page.get_by_text("nordlys").first.wait_for()
    show(page, "ui_partitions")


def test_a_materialization_with_its_differences_and_picture(page: Any, address: str) -> None:
    page.goto(f"{address}/assets/products?view=events&partition=2026-11-03%7Cnordlys")
    page.get_by_text("since_last").first.wait_for()
    page.get_by_text("catalogue_as_of").first.wait_for()
    show(page, "ui_materialization")
    # The picture stands behind a link, as Dagster shows Markdown.
    page.get_by_text("Show Markdown").first.click()
    picture = page.locator("img[src^='data:image/']").first
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") > 100
    show(page, "ui_trend")


def test_the_checks_say_what_to_do(page: Any, address: str) -> None:
    page.goto(f"{address}/assets/catalog_health?view=checks")
    page.get_by_text("no_store_is_late").first.wait_for()
    page.get_by_text("store_nordlys").first.wait_for()
    page.goto(f"{address}/assets/clean_products?view=checks&checkDetail=guards_accept_the_snapshot")
    page.get_by_text("guards_accept_the_snapshot").first.wait_for()
    page.get_by_text("When it fails").first.wait_for()
    show(page, "ui_checks")


def test_the_pictures_of_search_quality(page: Any, address: str) -> None:
    page.goto(f"{address}/assets/search_quality?view=events")
    page.get_by_text("against_the_promotion").first.wait_for()
    links = page.get_by_text("Show Markdown")
    for link, words in ((0, "queries and their first results"), (1, "recall and precision over time")):
        links.nth(link).click()
        picture = page.locator(f"img[alt='{words}']")
        picture.wait_for()
        assert picture.evaluate("image => image.naturalWidth") > 600, words
        if not link:
            show(page, "ui_search_quality")
        page.keyboard.press("Escape")
        picture.wait_for(state="detached")


def test_the_table_of_health(page: Any, address: str) -> None:
    page.goto(f"{address}/assets/catalog_health?view=events")
    page.get_by_text("stores_that_need_a_person").first.wait_for()
    show(page, "ui_health")


def test_the_grid_of_a_thousand_stores_by_eighty_days(page: Any, tmp_path: Path) -> None:
    """It opens, and the last store is found by its name."""
    last = date(2026, 11, 27)
    stores = [
        {"id": f"store-{n:04}", "format": "google_xml", "location": f"https://shop{n}.example/feed.xml"}
        for n in range(1000)
    ]
    feeds = {"first_day": last - timedelta(days=79), "last_day": last, "stores": stores}
    (tmp_path / "feeds.yaml").write_text(yaml.safe_dump(feeds))
    environ = environment(tmp_path, tmp_path / "data")
    environ["FASHION_PIPELINE_FEEDS"] = str(tmp_path / "feeds.yaml")
    with dev(environ, tmp_path, PORT + 1) as url:
        began = time.monotonic()
        page.goto(f"{url}/assets/products?view=partitions")
        page.get_by_text("2026-11-27").first.wait_for()
        page.get_by_text("store-0000").first.wait_for()
        print(f"\n1,000 stores x 80 days: the grid was there after {time.monotonic() - began:.1f} s")
        page.get_by_placeholder("Filter by store").fill("store-0999")
        page.get_by_text("store-0999").first.wait_for()
        show(page, "ui_grid_1000")

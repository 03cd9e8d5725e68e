"""Two users of a WebUI with log-ins: to each their own persons, jobs and history, over REST and in Chromium, in the panel and the tab.

Collected with `--live URL --accounts NAME:PASSWORD,NAME:PASSWORD` alone, for a WebUI that was started with --gradio-auth of the same
(and --api). The first account is whom the machine belongs to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import copy
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from tests.live.test_browser import Panel, browser  # noqa: F401  # the fixture of that name
from tests.live.test_tab import SMALL, V1
from tests.live.test_tab_browser import LONG
from tests.live.test_tab_browser import Tab as TabPage
from tests.live.webui import Refused, WebUI, basic, face, photo

NAME = "Live Account"
SAID = "live account of the first user"


@pytest.fixture(scope="module")
def two(request: pytest.FixtureRequest) -> Iterator[tuple[WebUI, WebUI]]:
    """The WebUI as its first user and as its second; the first has a saved person and a portrait."""
    url = request.config.getoption("--live")
    first, second = (WebUI(url, account) for account in request.config.getoption("--accounts").split(","))
    first.ask(f"{V1}/persons", {"name": NAME, "photos": [photo(0)], "consent": True, "keep_photos": True, "replace": True})
    try:
        yield first, second
    finally:
        for one in (first, second):
            for entry in one.ask(f"{V1}/history?count=500&text={quote(SAID)}")["entries"]:
                one.ask(f"{V1}/history/{entry['id']}", method="DELETE")
        first.ask(f"{V1}/persons/{quote(NAME)}", method="DELETE")


@pytest.fixture(scope="module")
def job(two: tuple[WebUI, WebUI]) -> dict[str, Any]:
    """A portrait of the first user's, as its job tells of it when it is done."""
    done = two[0].ask(f"{V1}/portrait", SMALL | {"person": NAME, "prompt": SAID, "wait": 600})
    assert done["phase"] == "done" and not done["error"], done
    return done


def as_(webui: WebUI, account: str) -> WebUI:
    """The same WebUI, asked by somebody else."""
    other = copy(webui)
    other.account, other.headers = account, basic(account)
    return other


def names(webui: WebUI) -> list[str]:
    return [one["name"] for one in webui.ask(f"{V1}/persons")["persons"]]


def ids(webui: WebUI) -> list[int]:
    return [one["id"] for one in webui.ask(f"{V1}/history?count=500")["entries"]]


def test_nobody_comes_in_without_an_account(two: tuple[WebUI, WebUI]):
    wrong = f"{two[0].account.partition(':')[0]}:{two[1].account.partition(':')[2]}"
    for account in ("", wrong, "nobody:nothing"):
        for path in ("/persons", "/history", "/jobs", "/settings", "/ready", "/version"):
            with pytest.raises(Refused) as refused:
                as_(two[0], account).ask(V1 + path)
            assert refused.value.status == 401, path


def test_a_saved_person_is_the_first_users_alone(two: tuple[WebUI, WebUI]):
    first, second = two
    assert NAME in names(first) and NAME not in names(second)
    for path, body, method in (
        (f"/persons/{quote(NAME)}", None, "DELETE"),
        (f"/persons/{quote(NAME)}", {"name": "Mine Now"}, "PATCH"),
        (f"/persons/export?name={quote(NAME)}", None, None),
        ("/persons/merge", {"names": [NAME, NAME], "into": "Mine Now"}, None),
    ):
        with pytest.raises(Refused, match="No saved person"):
            second.fetch(V1 + path, body and json.dumps(body).encode(), "application/json", method)
    assert NAME in names(first)


def test_a_name_in_the_hosts_own_api_is_ones_own_person(two: tuple[WebUI, WebUI]):
    first, second = two
    plain, held = first.make(None), first.make(face({"name": NAME, "weight": 1.0}))
    assert held.trouble is None and not np.array_equal(held.pixels, plain.pixels)
    with pytest.raises(Refused, match="No saved person"):
        second.make(face({"name": NAME, "weight": 1.0}))
    with pytest.raises(Refused, match="names no user"):  # the host's own route asks for no log-in where only its page has one
        as_(first, "").make(face({"name": NAME, "weight": 1.0}))


def test_jobs_and_history_are_the_first_users_alone(two: tuple[WebUI, WebUI], job: dict[str, Any]):
    first, second = two
    (result,) = job["results"]
    assert result["id"] in ids(first) and result["id"] not in ids(second)
    assert first.ask(f"{V1}/jobs")["job"]["id"] == job["id"] != (second.ask(f"{V1}/jobs")["job"] or {}).get("id")
    assert NAME not in second.ask(f"{V1}/history")["persons"]
    for path, body, method in (
        (f"/jobs/{job['id']}", None, None),
        (f"/jobs/{job['id']}/stop", b"{}", "POST"),
        (f"/history/{result['id']}", None, None),
        (f"/history/{result['id']}/picture", None, None),
        (f"/history/{result['id']}/thumbnail", None, None),
        (f"/history/{result['id']}/again", None, None),
        (f"/history/{result['id']}", None, "DELETE"),
    ):
        with pytest.raises(Refused) as refused:
            second.fetch(V1 + path, body, "application/json", method)
        assert refused.value.status == 422, path
    assert first.ask(f"{V1}/history/{result['id']}")["there"]


def test_the_settings_are_everybodys_and_where_things_lie_the_first_accounts(two: tuple[WebUI, WebUI]):
    first, second = two
    before = first.ask(f"{V1}/settings")["settings"]["steps"]
    try:
        assert second.ask(f"{V1}/settings", {"steps": before + 1}, "PATCH")["fixed"] == {}
        assert first.ask(f"{V1}/settings")["settings"]["steps"] == before + 1
    finally:
        second.ask(f"{V1}/settings", {"steps": before}, "PATCH")
    assert "/" not in second.ask(f"{V1}/adapters")["folder"] and "\\" not in second.ask(f"{V1}/adapters")["folder"]
    assert first.ask(f"{V1}/adapters")["folder"] != second.ask(f"{V1}/adapters")["folder"]


@pytest.fixture
def tabs(browser: Any, two: tuple[WebUI, WebUI], job: dict[str, Any]) -> Iterator[tuple[TabPage, TabPage]]:  # noqa: F811
    """Both users in the tab, after the first one's portrait."""
    made = TabPage(browser, two[0]), TabPage(browser, two[1])
    yield made
    for one in made:
        one.page.context.close()


def to_page(tab: TabPage, name: str) -> None:
    tab.page.locator("#facechain-tab-pages button", has_text=name).first.click()
    tab.page.wait_for_timeout(3000)


def test_the_tab_shows_each_their_own(tabs: tuple[TabPage, TabPage], job: dict[str, Any]):
    first, second = tabs
    first.page.wait_for_selector("#facechain-tab-results .facechain-selected img", timeout=LONG)
    for tab, sees in ((first, True), (second, False)):
        assert (NAME in tab.part("faces").inner_text()) is sees
        assert (tab.page.locator(f"#facechain-tab-results [data-job='{job['id']}']").count() == 1) is sees
        to_page(tab, "People")
        assert (NAME in tab.part("people").inner_text()) is sees
        to_page(tab, "History")
        entry = tab.page.locator(f"#facechain-tab-entries [data-do=entry][data-value='{job['results'][0]['id']}']")
        assert (entry.count() == 1) is sees
        assert tab.errors == []


def test_the_first_user_sends_the_portrait_on(tabs: tuple[TabPage, TabPage]):
    """With the results closed to everybody's eyes the page still has them for their user."""
    first, _ = tabs
    first.page.wait_for_selector("#facechain-tab-results .facechain-selected img", timeout=LONG)
    first.part("results").locator(".facechain-send", has_text="img2img").first.click()
    first.page.wait_for_function(
        "[...document.querySelectorAll('#img2img_img2img_tab img, #img2img_image img, #img2img_image canvas')]"
        ".some(one => one.naturalWidth === 64 || one.width === 64)",
        timeout=LONG,
    )


def test_the_page_serves_nobodys_files_by_their_path(tabs: tuple[TabPage, TabPage], two: tuple[WebUI, WebUI]):
    """Everything below the WebUI's folder is served to whoever has logged in, but for what is somebody's own."""
    first = two[0]
    folder, user = first.ask(f"{V1}/adapters")["folder"], first.account.partition(":")[0]
    to_page(tabs[0], "Setup")
    rows = dict(row.split("\t", 1) for row in tabs[0].part("there").locator("tr").all_inner_texts())
    own = (f"{folder}/people/users/{user}/{NAME}.safetensors", f"{folder}/people/./users/{user}/{NAME}.safetensors")
    for tab in tabs:
        get = tab.page.context.request.get
        assert get(f"{first.url}/file={folder}/encoder.safetensors", headers={"Range": "bytes=0-9"}).status in (200, 206)
        for path in (*own, f"{rows['Results']}/history.sqlite3", f"{rows['Results']}/{user}/any.png"):
            answer = get(f"{first.url}/file={path}")
            assert answer.status == 403 and "somebody's own" in answer.text(), path


def test_the_panel_offers_each_their_own(browser: Any, two: tuple[WebUI, WebUI]):  # noqa: F811
    for webui, sees in zip(two, (True, False), strict=True):
        panel = Panel(browser, webui)
        panel.open()
        panel.wait(3)
        panel.part("name", 1).locator("input").first.click()
        panel.wait(1)
        offered = panel.part("name", 1).locator("[data-testid=dropdown-option]")
        assert offered.count() >= 1
        assert (NAME in [text.strip().removeprefix("✓").strip() for text in offered.all_inner_texts()]) is sees
        assert panel.errors == []
        panel.page.context.close()


def test_the_panel_generates_with_ones_own_person(browser: Any, two: tuple[WebUI, WebUI]):  # noqa: F811
    """And its info text, pasted by the other, restores the panel without a person, and says so."""
    panel = Panel(browser, two[0])
    panel.open()
    panel.wait(2)
    panel.part("name", 1).locator("input").first.click()
    panel.part("name", 1).locator(f'[data-testid=dropdown-option][aria-label="{NAME}"]').first.click()
    panel.wait(2)
    panel.generate()
    info = panel.page.locator("#html_info_txt2img").first.inner_text()
    assert "FaceChain person 1" in info and "FaceChain error" not in info
    panel.page.context.close()
    for webui, found in zip(two, (True, False), strict=True):
        fresh = Panel(browser, webui)
        fresh.page.locator("#txt2img_prompt textarea").fill(info)
        fresh.page.locator("#paste").first.click()
        fresh.wait(5)
        assert (NAME in fresh.part("name", 1).locator("input").input_value()) is found
        assert (fresh.part("note").inner_text().strip() == "") is found
        fresh.page.context.close()


def test_setup_shows_the_folders_to_the_first_account(tabs: tuple[TabPage, TabPage], two: tuple[WebUI, WebUI]):
    folder = two[0].ask(f"{V1}/adapters")["folder"]
    for tab, owner in zip(tabs, (True, False), strict=True):
        to_page(tab, "Setup")
        assert (folder in tab.part("there").inner_text()) is owner
        assert "FaceChain" in tab.part("there").inner_text()
        assert tab.part("setting-steps").locator("input[type=number]").first.is_enabled()

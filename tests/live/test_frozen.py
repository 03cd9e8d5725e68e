"""A WebUI that was started with --freeze-settings: FaceChain's settings are shown and cannot be changed, over REST and on the Setup page.

Collected with `--live URL --frozen` alone.
"""

from __future__ import annotations

import pytest

from tests.live.test_browser import browser  # noqa: F401  # the fixture of that name
from tests.live.test_tab import SMALL, V1
from tests.live.test_tab_browser import LONG, Tab
from tests.live.webui import Refused, WebUI, photo

WHY = "The WebUI was started with --freeze-settings: this cannot be changed here."


@pytest.fixture(scope="module")
def webui(request: pytest.FixtureRequest) -> WebUI:
    """As everywhere, but for the requests that override settings: A1111 refuses all of them here."""
    return WebUI(request.config.getoption("--live"))


def test_no_setting_can_be_changed_over_rest(webui: WebUI):
    before = webui.ask(f"{V1}/settings")
    assert set(before["fixed"]) == set(before["settings"]) and set(before["fixed"].values()) == {WHY}
    for name, value in (("steps", before["settings"]["steps"] + 1), ("check", not before["settings"]["check"]), ("outputs", "elsewhere")):
        with pytest.raises(Refused) as refused:
            webui.ask(f"{V1}/settings", {name: value}, "PATCH")
        assert refused.value.status == 403 and WHY in str(refused.value), name
    assert webui.ask(f"{V1}/settings") == before


@pytest.mark.parametrize(
    ("locale", "page", "says"), [("en-US", "Setup", WHY), ("zh-CN", "设置", "--freeze-settings")], ids=("English", "Chinese")
)
def test_the_setup_page_says_so_and_takes_nothing(browser, webui: WebUI, locale: str, page: str, says: str):  # noqa: F811
    tab = Tab(browser, webui, locale)
    tab.page.locator("#facechain-tab-pages button", has_text=page).first.click()
    told = "text => document.querySelector('#facechain-tab-settings-frozen').innerText.includes(text)"
    tab.page.wait_for_function(told, arg=says, timeout=LONG)
    assert tab.part("settings-frozen").inner_text().count("--freeze-settings") == 1
    for name in webui.ask(f"{V1}/settings")["settings"]:
        fields = tab.part(f"setting-{name}").locator("input, textarea")
        assert fields.count() and all(fields.nth(at).is_disabled() for at in range(fields.count())), name
    assert tab.part("settings-save").is_disabled()
    assert tab.errors == []
    tab.page.context.close()


def test_pictures_are_made_as_ever(webui: WebUI):
    """The host's settings that a portrait needs are its own for that long, and nothing of it is saved."""
    done = webui.ask(f"{V1}/portrait", SMALL | {"photos": [photo(0)], "clip_skip": 2, "wait": 600})
    assert done["phase"] == "done" and not done["error"], done["error"]
    for one in done["results"]:
        webui.ask(f"{V1}/history/{one['id']}", method="DELETE")

"""Text that is markup stays text: pages run no script but their own, in a real browser where there is one."""

import re
import shutil
import subprocess
from html import unescape

import pytest
from markupsafe import Markup

from unmask.decoding.trace import EVENTS, FORMAT, GUESSES, Trace
from unmask.reporting.page import Embed, Html, PageTable, Section, Text, Tiles, render_page

EVIL = (
    "</script><script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"
    "<svg onload=\"document.title='pwned'\">--><iframe srcdoc=\"<script>parent.document.title='pwned'</script>\">"
    "\"' onmouseover=document.title='pwned' {{ 123 * 7 }} \u2028"
)
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)


def trace_page():
    whole, part = [4, 0, 1], [0.9, 0.5]
    events = {
        name: [whole[0], whole[2]] if name in ("value", "runner_up") else part if dtype.is_floating_point else [0, 0]
        for name, dtype in EVENTS.items()
    } | {"step": [0, 1], "position": [1, 0]}
    data = {"format": FORMAT, "start": [[2, 2, 5]], "mask_id": 2, "plan": {"order": EVIL}, "events": events}
    trace = Trace.from_dict(data | {"guesses": {name: [] for name in GUESSES}})
    return trace.html(lambda token: f"{EVIL}{token}", title=EVIL)


def report():
    blocks = [
        Text(EVIL),
        PageTable(EVIL, [EVIL, "b"], [[EVIL, EVIL]], note=EVIL),
        Tiles([(EVIL, EVIL, EVIL)]),
        Embed(trace_page(), EVIL),
    ]
    return render_page(EVIL, [Section(EVIL, blocks)], subtitle=EVIL, footer=EVIL)


def browse(path):
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom"]
    return subprocess.run([*words, path.as_uri()], capture_output=True, text=True, timeout=120).stdout


@pytest.mark.parametrize("page", [trace_page, report])
def test_hostile_text_is_escaped_and_the_policy_is_strict(page):
    html = page()
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', html.split("<title>")[0])
    said = dict(part.strip().split(" ", 1) for part in unescape(policy).split(";"))
    assert said["default-src"] == "'none'" and said["script-src"].count("'sha256-") == 1
    assert "unsafe-inline" not in said["script-src"] and "unsafe-eval" not in policy
    # in the page itself (not in the frame's quoted source) the text's tags are quoted
    outside = re.sub(r'srcdoc="[^"]*"', "", html)
    assert "<img src=x" not in outside and "<svg onload" not in outside and "861" not in outside
    assert "<script>document.title" not in outside


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
@pytest.mark.parametrize("page", [trace_page, report])
def test_a_browser_runs_no_script_of_the_text(page, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(page(), encoding="utf-8")
    seen = browse(file)
    title = re.search(r"<title>(.*?)</title>", seen, re.S)
    assert title and title[1].startswith("&lt;/script&gt;")  # the title we gave, not the one that a script would set
    if page is trace_page:
        assert "step 0 of 2" in seen or "step 2 of 2" in seen  # the page's own script did run


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
def test_the_policy_stops_what_escaping_would_miss(tmp_path):
    """Markup that some template let through by mistake still runs nothing."""
    file = tmp_path / "page.html"
    file.write_text(render_page("safe", [Section("s", [Html(Markup(EVIL))])]), encoding="utf-8")
    assert "<title>safe</title>" in browse(file)

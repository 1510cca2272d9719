"""Opens what `evtchn timeline` wrote in Chromium, by WebDriver. The argument is the folder; .ci/timeline makes it."""

import base64
import json
import pathlib
import re
import subprocess
import sys
import urllib.request

TAB, LEFT, UP, RIGHT, DOWN, END = "\ue004", "\ue012", "\ue013", "\ue014", "\ue015", "\ue010"
STATE = "return {...document.getElementById('figure').dataset}"


class Browser:
    """A session of chromedriver, in light or in dark."""

    def __init__(self, port, scheme):
        self.base = f"http://127.0.0.1:{port}"
        options = {
            "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars",
                "--window-size=1280,1000",
            ]
        }
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        made = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.base += f"/session/{made['sessionId']}"
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": media})

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def run(self, script):
        return self.call("POST", "/execute/sync", {"script": script, "args": []})

    def settled(self, script):
        """What the script gives once the picture was drawn."""
        wait = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()));"
        self.call("POST", "/execute/async", {"script": wait, "args": []})
        return self.run(script)

    def press(self, keys):
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def point(self, x, y):
        move = {"type": "pointerMove", "duration": 0, "x": round(x), "y": round(y), "origin": "viewport"}
        self.call("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": [move]}]})

    def open(self, file):
        self.call("POST", "/url", {"url": file.resolve().as_uri()})

    def shoot(self, file):
        file.write_bytes(base64.b64decode(self.call("GET", "/screenshot")))

    def complaints(self):
        return self.call("POST", "/se/log", {"type": "browser"})


def expect(what, is_so, seen=""):
    if not is_so:
        sys.exit(f"FAILED: {what}: {seen}")


def state(browser):
    return {key: float(value) for key, value in browser.settled(STATE).items()}


def check_page(browser, file):
    browser.open(file)
    whole = state(browser)
    rows = browser.run("return [...document.querySelectorAll('tbody tr th')].map((it) => it.textContent)")
    names = browser.run("return [...document.querySelectorAll('#figure .lane .name')].map((it) => it.textContent)")
    expect("the first lanes of the table are drawn", names and names == rows[: len(names)], (names, rows))
    marks = browser.run("return document.querySelectorAll('#figure .mark, #figure .crowd').length")
    expect("marks are drawn", marks > 0, marks)
    loaded = browser.run("return performance.getEntriesByType('resource').length")
    expect("nothing else is loaded", loaded == 0, loaded)

    for _ in range(20):
        browser.press([TAB])
        if browser.run("return document.activeElement.id") == "figure":
            break
    outline = browser.run("return getComputedStyle(document.getElementById('figure')).outlineStyle")
    expect("Tab leads to the figure and its focus is seen", outline == "solid", outline)

    browser.press("++")
    near = state(browser)
    expect("two + show a quarter", near["steps"] == max(whole["steps"] / 4, 8), near)
    browser.press([RIGHT])
    right = state(browser)
    expect("the right arrow pans", near["from"] < right["from"], (near, right))
    browser.press([LEFT])
    expect("the left arrow pans back", abs(state(browser)["from"] - near["from"]) < 1e-6, near)
    browser.press("-")
    expect("- shows twice as much", state(browser)["steps"] == near["steps"] * 2, near)
    browser.press([END])
    last = state(browser)
    expect("End shows the end", abs(last["from"] + last["steps"] - whole["steps"]) < 1e-6, last)
    browser.press([DOWN, DOWN, UP])
    expect("arrows choose a lane", state(browser)["chosen"] == 1, state(browser))
    browser.press("0nn")
    all_again = state(browser)
    expect("0 shows all", (all_again["from"], all_again["steps"]) == (0, whole["steps"]), all_again)
    told = browser.run("return document.getElementById('detail').textContent")
    expect("n tells of a mark", told.startswith("port ") and re.search(r"line [\d,]+$", told), told)
    browser.press("+" * 14)
    deep = state(browser)
    expect("the deepest zoom shows single marks", deep["steps"] <= 8 and deep["marks"] >= 1, deep)
    browser.press("0")
    state(browser)

    box = browser.run(
        "const it = document.querySelector('#figure .lane:nth-of-type(2) g').getBoundingClientRect();"
        "return [it.x + it.width / 2, it.y + it.height / 2]"
    )
    browser.point(*box)
    hovered = browser.settled("return document.getElementById('detail').textContent")
    expect("what is pointed at is told", hovered != told and "line" in hovered, (told, hovered))
    first = names[min(1, len(names) - 1)]
    expect("the lane that is pointed at is named", hovered.startswith(first), hovered)


def check_picture(browser, file):
    browser.open(file)
    root = browser.run("return document.documentElement.tagName")
    lanes = browser.run("return document.querySelectorAll('.lane').length")
    expect("the picture is SVG with its lanes", root == "svg" and lanes > 1, (root, lanes))
    outside = browser.run(
        "const page = document.querySelector('.page').getBoundingClientRect();"
        "return [...document.querySelectorAll('text')].filter((it) => { const box = it.getBoundingClientRect();"
        "return box.right > page.right || box.bottom > page.bottom || box.left < page.left })"
        ".map((it) => it.textContent)"
    )
    expect("no text leaves the picture", outside == [], outside)


def check_events(file):
    events = json.loads(file.read_text())["traceEvents"]
    named = {event["tid"] for event in events if event.get("name") == "thread_name"}
    times = [event["ts"] for event in events if event["ph"] != "M"]
    expect("the events are in order", times == sorted(times), file)
    expect("every lane has a name", {event["tid"] for event in events if event["ph"] != "M"} <= named, file)


def main():
    folder = pathlib.Path(sys.argv[1])
    for file in sorted(folder.glob("*.json")):
        check_events(file)
    driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        port = next(found[1] for line in driver.stdout if (found := re.search(r"successfully on port (\d+)", line)))
        grounds = set()
        for scheme in ("light", "dark"):
            browser = Browser(port, scheme)
            for file in sorted(folder.glob("*.html")):
                check_page(browser, file)
                browser.shoot(folder / f"{file.stem}-{scheme}.png")
                grounds.add(browser.run("return getComputedStyle(document.body).backgroundColor"))
                print(f"{file.name} in {scheme}: holds")
            for file in sorted(folder.glob("*.svg")):
                check_picture(browser, file)
                browser.shoot(folder / f"{file.stem}-svg-{scheme}.png")
                print(f"{file.name} in {scheme}: holds")
            complaints = browser.complaints()
            expect("nothing is on the console", complaints == [], complaints)
            browser.call("DELETE", "")
        expect("light and dark differ", len(grounds) == 2, grounds)
    finally:
        driver.terminate()
        driver.wait()


if __name__ == "__main__":
    main()

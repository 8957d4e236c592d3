"""The site and JupyterLab in a real browser, without a network. `make browser` builds nothing: it
needs `_docs` (`make docs`) and a Chromium, and says so where one is missing."""
import os
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from built import CHROMIUM, DOCS


def needed(there, what):
    "Skip where something is missing; fail where `make browser` asked for these tests"
    if there: return
    (pytest.fail if os.environ.get('CARGAN_BROWSER') else pytest.skip)(what)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


@contextmanager
def served(folder):
    "A folder as a site on this machine"
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()


@pytest.fixture(scope='session')
def browser():
    needed(CHROMIUM, 'no Chromium here: install the package chromium')
    sync_api = pytest.importorskip('playwright.sync_api')
    with sync_api.sync_playwright() as p:
        quiet = ['--no-sandbox', '--disable-dev-shm-usage',
                 '--autoplay-policy=no-user-gesture-required']
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=quiet)
        yield chromium
        chromium.close()


@pytest.fixture(scope='session')
def site():
    needed((DOCS/'api.html').exists(), 'the whole site is not built: make docs')
    with served(DOCS) as address: yield address


class Seen:
    "What went wrong on a page: errors of the console, requests that failed or left this machine"
    def __init__(self, page):
        self.wrong = []
        page.on('console', lambda m: m.type == 'error' and self.wrong.append(m.text))
        page.on('pageerror', lambda e: self.wrong.append(str(e)))
        page.on('response', lambda r: r.status >= 400 and self.wrong.append(f'{r.status} {r.url}'))
        page.route('**/*', self.here)

    def here(self, route):
        if route.request.url.startswith(('http://127.0.0.1', 'data:', 'blob:')):
            return route.continue_()
        self.wrong.append(f'asked the network for {route.request.url}')
        route.abort()


@pytest.fixture
def opened(browser):
    "A function that opens a page at a width: the page, and what went wrong on it"
    contexts = []
    def opened(address, width=1200):
        context = browser.new_context(viewport=dict(width=width, height=900))
        contexts.append(context)
        page = context.new_page()
        seen = Seen(page)
        page.goto(address, wait_until='load')
        return page, seen
    yield opened
    for context in contexts: context.close()

"Chapters in JupyterLab, as a learner opens them: from the installed package, in a browser"
import os
import socket
import subprocess
import sys
import time
from urllib.request import urlopen

import pytest

from cargan.deploy.course import copy_course

KERNEL = '() => jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status'
RAN = '''() => jupyterapp.shell.currentWidget.content.widgets.every(
    cell => cell.model.type !== 'code' || cell.model.executionCount)'''
SETTINGS = '{"windowingMode": "none"}' # all cells are on the page, in view or not


@pytest.fixture(scope='module')
def lab(tmp_path_factory):
    "JupyterLab over a copy of the course; its address"
    home = tmp_path_factory.mktemp('lab')
    copy_course(home/'course')
    settings = home/'settings'/'@jupyterlab'/'notebook-extension'
    settings.mkdir(parents=True)
    (settings/'tracker.jupyterlab-settings').write_text(SETTINGS)
    env = dict(os.environ, JUPYTERLAB_SETTINGS_DIR=str(home/'settings'), OMP_NUM_THREADS='1',
               JUPYTERLAB_WORKSPACES_DIR=str(home/'workspaces')) # no tabs of other sessions
    env.pop('MPLBACKEND', None)
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    command = [sys.executable, '-m', 'jupyterlab', '--no-browser', f'--port={port}', '--allow-root',
               '--IdentityProvider.token=', f'--ServerApp.root_dir={home/"course"}',
               '--LabApp.expose_app_in_browser=True', '--LabApp.news_url=None',
               '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate']
    with open(home/'log', 'w') as log:
        server = subprocess.Popen(command, cwd=home, env=env, stdout=log, stderr=log)
    address = f'http://127.0.0.1:{port}'
    for _ in range(120):
        try:
            urlopen(f'{address}/api', timeout=1).close()
            break
        except OSError: time.sleep(.5)
    else: pytest.fail((home/'log').read_text())
    yield address
    server.terminate()
    server.wait()


def until(page, happened, seconds):
    "Look again and again; `wait_for_function` sleeps with a page that is not drawn"
    deadline = time.time() + seconds
    while not happened():
        assert time.time() < deadline, f'nothing in {seconds} s'
        page.wait_for_timeout(300)


def pictures(cell): return cell.locator('img').evaluate_all('all => all.map(im => im.src)')


@pytest.mark.slow
@pytest.mark.parametrize('chapter', ('01_tour', '05_adversary', '12_listening'))
def test_chapter(browser, lab, chapter):
    "It runs to its end without an error; a slider is dragged, and the picture changes"
    page = browser.new_page(viewport=dict(width=1400, height=900))
    page.set_default_timeout(120_000)
    page.goto(f'{lab}/lab/workspaces/{chapter}/tree/{chapter}.ipynb')
    page.wait_for_function("window.jupyterapp")
    page.locator('.jp-Notebook .jp-CodeCell').first.wait_for(state='attached')
    until(page, lambda: page.evaluate(KERNEL) == 'idle', 120)
    page.evaluate('() => { jupyterapp.commands.execute("notebook:run-all-cells") }')
    until(page, lambda: page.evaluate(RAN), 900)
    errors = page.locator('.jp-RenderedText[data-mime-type="application/vnd.jupyter.error"]')
    assert errors.all_text_contents() == []
    cell = page.locator('.jp-CodeCell', has=page.locator('.noUi-handle')).first
    cell.scroll_into_view_if_needed()
    before = pictures(cell)
    assert before, 'a slider without a picture'
    box = cell.locator('.noUi-handle').first.bounding_box()
    page.mouse.move(box['x'] + box['width']/2, box['y'] + box['height']/2)
    page.mouse.down()
    page.mouse.move(box['x'] + 90, box['y'] + box['height']/2, steps=4)
    page.mouse.up()
    until(page, lambda: pictures(cell) != before, 30)
    page.close()

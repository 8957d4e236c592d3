"The app in a browser, and under strange requests"
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from cargan.deploy.app import serving
from cargan.deploy.translate import shipped_clips

pytest.importorskip('gradio')
SOON = 120_000 # ms that an answer may take on a busy machine
BIN = Path(sys.executable).parent


@pytest.fixture(scope='module')
def app(tmp_path_factory):
    "`cargan-app` with the bundle `small`: its address, and the folder it keeps things in"
    kept = tmp_path_factory.mktemp('kept')
    env = {**os.environ, 'TMPDIR': str(kept), 'OMP_NUM_THREADS': '2'}
    command = [BIN/'cargan-app', '--bundle', 'small', '--port', '7871', '--most-mb', '2',
               '--most-minutes', '.5']
    p = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    line = p.stdout.readline()
    assert line.startswith('http://127.0.0.1:7871'), line
    yield line.split()[0].rstrip('/'), kept
    p.send_signal(2)
    assert p.wait(60) == 0
    assert not list(kept.glob('cargan-app-*')) # nothing is left


@pytest.fixture
def page(browser, app):
    "The app's page, which asks nobody else"
    context = browser.new_context(viewport=dict(width=1200, height=1400))
    page = context.new_page()
    page.route('**/*', lambda r: r.continue_() if r.request.url.startswith(
        (app[0], 'data:', 'blob:')) else r.abort())
    page.goto(app[0])
    page.get_by_role('button', name='Paint').wait_for(timeout=SOON)
    yield page
    context.close()


def heard(page, words):
    "Wait for words in the field of what was heard"
    page.wait_for_function("""words => [...document.querySelectorAll('textarea')].some(
        t => t.value.includes(words))""", arg=words, timeout=SOON)


def choose(page, path):
    page.locator('input[type=file]').last.set_input_files(path)
    page.get_by_text(Path(path).stem).first.wait_for(timeout=SOON)


def test_paints_a_file(page):
    choose(page, shipped_clips()['tuba'])
    page.get_by_role('button', name='Paint').click()
    heard(page, 'tuba')
    page.wait_for_function("""() => [...document.images].filter(
        i => i.naturalWidth == 384 && i.complete).length >= 2""", timeout=SOON)
    page.get_by_role('button', name='Film').click() # of the same file
    heard(page, 's: tuba')


def test_films_a_file(page):
    choose(page, shipped_clips()['flute'])
    page.get_by_role('button', name='Film').click()
    heard(page, 's: flute')
    page.locator('video').first.wait_for(timeout=SOON)


def test_a_name_is_text(page, tmp_path):
    "Also one that would be HTML"
    odd = tmp_path/'<img src=x onerror=document.title=1>.wav'
    odd.write_text('no sound')
    page.locator('input[type=file]').last.set_input_files(odd)
    page.wait_for_timeout(1000)
    page.get_by_role('button', name='Paint').click()
    heard(page, 'cannot be read')
    assert page.title() == 'cargan'


def test_nothing_is_chosen(page):
    page.get_by_role('button', name='Paint').click()
    heard(page, 'there is no sound yet')


def client(app):
    from gradio_client import Client
    return Client(app[0], verbose=False, download_files=tempfile.mkdtemp())


def ask(app, path, label='by ear', what='/answer'):
    from gradio_client import handle_file
    return client(app).predict(None, handle_file(path), label, api_name=what)


def test_ten_at_once(app):
    "All are answered"
    clips = list(shipped_clips().items())[:10]
    with ThreadPoolExecutor(10) as ex: said = list(ex.map(lambda c: ask(app, c[1], c[0]), clips))
    for (label, _), (text, *_) in zip(clips, said): assert text.startswith(label)


def test_limits(app, tmp_path):
    "Too long, and too large"
    long, large = tmp_path/'long.flac', tmp_path/'large.wav'
    sf.write(long, np.zeros(22050*60, np.float32), 22050)
    sf.write(large, np.random.default_rng(0).normal(0, .1, 2_000_000), 44100)
    assert 'lasts 1.0 minutes' in ask(app, long)[0]
    with pytest.raises(Exception, match='(?i)size|413|large|exceed'): ask(app, large)


def test_uploads_are_deleted(tmp_path, monkeypatch):
    "After a while, and at the end"
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    def kept(): return [p for p in tmp_path.glob('cargan-app-*/**/*.ogg')]
    seen = set() # also where an answer takes longer than a file is kept
    with serving('small', port=None, keep_seconds=8) as address, ThreadPoolExecutor(1) as asking:
        answer = asking.submit(ask, (address,), shipped_clips()['oboe'])
        while not answer.done():
            seen.update(kept())
            time.sleep(.02)
        assert answer.result()[0].startswith('oboe') and seen
        for _ in range(300):
            if not kept(): break
            time.sleep(.2)
        assert not kept()
    assert not list(tmp_path.glob('cargan-app-*'))


@pytest.mark.parametrize('path', [
    'gradio_api/file=/etc/passwd', 'gradio_api/file=../../etc/passwd', 'file=/etc/passwd',
    'gradio_api/file=%2e%2e/%2e%2e/etc/passwd', 'gradio_api/file=http://127.0.0.1:1/x',
    'static/../../../etc/passwd', 'assets/..%2f..%2f..%2fetc/passwd'])
def test_no_other_files(app, path):
    "The machine's files stay on the machine"
    try:
        with urllib.request.urlopen(f'{app[0]}/{path}') as r: body = r.read()
    except urllib.error.HTTPError as e: body = e.read()
    assert b'root:' not in body


def test_a_file_of_the_machine_is_not_taken(app):
    "A request that names a path in the place of an upload"
    data = dict(data=[None, dict(path='/etc/passwd', meta=dict(_type='gradio.FileData')), 'by ear'])
    request = urllib.request.Request(f'{app[0]}/gradio_api/call/answer', json.dumps(data).encode(),
                                     {'Content-Type': 'application/json'})
    try:
        with urllib.request.urlopen(request) as r: told = json.load(r)
        with urllib.request.urlopen(f"{app[0]}/gradio_api/call/answer/{told['event_id']}") as r:
            said = r.read().decode()
    except urllib.error.HTTPError as e: said = e.read().decode()
    assert 'root:' not in said and 'cannot be read' not in said and Path('/etc/passwd').exists()


def test_commands_errors(sh):
    for args, why in ((['--port', '0'], 'port 0'), (['--most-mb', '-1'], 'above 0'),
                      (['--bundle', 'none.safetensors'], 'no such bundle')):
        code, _, error = sh('cargan-app', *args)
        assert code == 2 and why in error and error.count('\n') == 1, error

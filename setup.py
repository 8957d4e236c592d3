"The package's metadata is written once, in settings.ini; this reads it."
import shutil
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).parent
ini = ConfigParser(delimiters=['='])
ini.read(here/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']
def lines(key): return [o for o in cfg[key].split('\n') if o.strip()]


class WithNotebooks(build_py):
    "The course travels with the package, for `cargan-course`"
    def run(self):
        super().run()
        if self.editable_mode or not (here/'nbs').exists(): return
        shutil.copytree(here/'nbs', Path(self.build_lib)/'cargan'/'notebooks', dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns('.*', '__pycache__', '_*'))


names = ['synth', 'scale', 'metrics', 'onnx', 'app', 'track', 'dev']
extras = {name: lines(f'{name}_requirements') for name in names}
extras['dev'] += sum((extras[k] for k in ('synth', 'scale', 'metrics', 'onnx', 'app')), [])

setup(description=cfg['description'], keywords=cfg['keywords'].split(), author=cfg['author'],
      license=cfg['license'], python_requires=f">={cfg['min_python']},<{cfg['max_python']}",
      install_requires=lines('requirements'), extras_require=extras,
      entry_points=dict(console_scripts=lines('console_scripts'),
                        nbdev=['cargan=cargan._modidx:d']),
      cmdclass=dict(build_py=WithNotebooks),
      packages=find_packages(include=['cargan*']), include_package_data=True,
      package_data={'cargan': ['pretrained/*', 'pretrained/clips/*', 'pretrained/strip/*']},
      long_description=(here/'README.md').read_text(encoding='utf-8'),
      long_description_content_type='text/markdown')

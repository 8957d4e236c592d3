"README.md from nbs/index.ipynb: markdown as it is, code as code blocks."
import json
from pathlib import Path

here = Path(__file__).parent.parent
parts = []
for cell in json.loads((here/'nbs'/'index.ipynb').read_text(encoding='utf-8'))['cells']:
    text = ''.join(cell['source']).strip()
    if cell['cell_type'] == 'markdown': parts.append(text)
    elif not text.startswith('#| hide'):
        lines = [l for l in text.splitlines() if not l.startswith('#|')]
        parts.append('```python\n' + '\n'.join(lines) + '\n```')
text = '\n\n'.join(parts).replace('.ipynb)', '.ipynb)') + '\n'
text = text.replace('](images/', '](nbs/images/')
for folder in ('data', 'models', 'training', 'evaluation', 'deploy'): text = text.replace(f']({folder}/', f'](nbs/{folder}/')
(here/'README.md').write_text(text.replace('](00_tour', '](nbs/00_tour'), encoding='utf-8')

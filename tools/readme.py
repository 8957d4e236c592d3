"README.md from nbs/index.ipynb: markdown as it is, code as code blocks."
import json
import re
from pathlib import Path

here = Path(__file__).parent.parent
parts = []
for cell in json.loads((here/'nbs'/'index.ipynb').read_text(encoding='utf-8'))['cells']:
    text = ''.join(cell['source']).strip()
    if cell['cell_type'] == 'markdown': parts.append(text)
    elif not text.startswith('#| hide'):
        lines = [l for l in text.splitlines() if not l.startswith('#|')]
        parts.append('```python\n' + '\n'.join(lines) + '\n```')
text = '\n\n'.join(parts) + '\n'
text = text.replace('](images/', '](nbs/images/')
text = re.sub(r'\]\(((?:workshop/|\d\d_)[\w/]+\.ipynb\))', r'](nbs/\1', text)
(here/'README.md').write_text(text, encoding='utf-8')

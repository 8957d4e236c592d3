"README.md from nbs/index.ipynb: markdown as it is, code as code blocks."
import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def block(cell):
    "A cell as markdown; nothing of a hidden one"
    text = ''.join(cell['source']).strip()
    if cell['cell_type'] == 'markdown': return text
    if text.startswith('#| hide'): return ''
    lines = [l for l in text.splitlines() if not l.startswith('#|')]
    return '\n'.join(['```python', *lines, '```'])


def readme():
    "The text of README.md, with links that lead from there"
    cells = json.loads((ROOT/'nbs'/'index.ipynb').read_text(encoding='utf-8'))['cells']
    text = '\n\n'.join(filter(None, map(block, cells))) + '\n'
    text = re.sub(r'<audio.*?</audio>\n\n', '', text)  # GitHub shows none; the link beside it stays
    text = text.replace('](live/index.html)', '](https://cargan.github.io/cargan/live/)')
    return re.sub(r'\]\(((?:images/|workshop/|\d\d_)[^)]*)\)', r'](nbs/\1)', text)


if __name__ == '__main__': (ROOT/'README.md').write_text(readme(), encoding='utf-8')

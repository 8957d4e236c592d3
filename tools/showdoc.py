"How the site shows a function: heading, call, what it does, a table of what goes in and comes out"
import inspect
import re
from textwrap import fill

from fastcore.docments import ShowDocRenderer, docments, empty, qual_name

MODULES = re.compile(r'\b(?:[a-z]\w*\.)+(?=[A-Za-z])')

AT_AN_ADDRESS = re.compile(r'<function (?:\w+\.)*(\w+) at 0x[0-9a-f]+>')


def named(text):
    "Functions among the defaults by their names"
    return AT_AN_ADDRESS.sub(r'\1', text)


def kind(anno):
    "A type as a reader writes it: without modules"
    if anno is empty: return ''
    text = anno if isinstance(anno, str) else inspect.formatannotation(anno)
    return '`' + MODULES.sub('', text).replace('|', '\\|') + '`'


def cells(name, facts):
    "A line of the table: name, type, default, meaning"
    default = '' if facts.default is empty else named(f'`{facts.default!r}`').replace('|', '\\|')
    meaning = (facts.docment or '').replace('\n', ' ').replace('|', '\\|')
    return name, kind(facts.anno), default, meaning


class DocmentsTable(ShowDocRenderer):
    "For nbdev's `show_doc`"
    def __init__(self, sym, name=None, **kwargs):
        super().__init__(sym, name or qual_name(sym), **kwargs) # of a decorated one the outer name

    @property
    def call(self):
        "As one calls it; a line of the page holds 88 characters"
        if self.sig is None: return self.nm
        names = [named(str(p.replace(annotation=p.empty))) for p in self.sig.parameters.values()
                 if p.name != 'self']
        hang = ' '*(len(self.nm) + 1)
        return fill(f'{self.nm}({", ".join(names)})', 88, subsequent_indent=hang,
                    break_long_words=False, break_on_hyphens=False)

    @property
    def table(self):
        "Parameters and what is returned; nothing where nothing is said of them"
        found = docments(self.sym, full=True, returns=True)
        rows = [cells(f'`{k}`' if k != 'return' else '*returns*', v) for k, v in found.items()
                if k != 'self' and (k != 'return' or v.docment or v.anno not in (empty, None))]
        rows = [r for r in rows if any(r[1:])]
        if not rows: return ''
        rows = [('', 'type', 'default', ''), ('---',)*4, *rows]
        said = [i for i in range(4) if any(r[i] for r in rows[2:])] # columns with something in them
        return '\n'.join('| ' + ' | '.join(r[i] for i in said) + ' |' for r in rows)

    def _repr_markdown_(self):
        heading = '#'*self.title_level + f' {self.nm}'
        call = f'```python\n{self.call}\n```'
        return '\n\n'.join(filter(None, ['---', heading, call, self.docs, self.table]))

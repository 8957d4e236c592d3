"""The table that chapter 11 reads, `cargan/pretrained/long.csv`: the main figures of the runs in
benchmarks/tables, a row a run.

    python tools/course_table.py
"""
from pathlib import Path

import pandas as pd

from cargan.core import write_whole
from cargan.evaluation.systems import paper_models
from cargan.evaluation.tables import FIGURES, results
from cargan.models.preset import get_preset

ROOT = Path(__file__).parent.parent
FROM, OUT = ROOT/'benchmarks'/'tables', ROOT/'cargan'/'pretrained'/'long.csv'
SEEN = 'named right', 'label predicted', 'FD (judge)', 'L1'
HEARD = dict(performer='performer', pitch='pitch_within', loudness='loudness', rest='rest_balanced')


def table(folder=FROM)->pd.DataFrame:
    "Figures under the names they have on the pages; what is heard, with the label predicted"
    names = [s.name for s in paper_models(get_preset('small', code=0))]
    rows = pd.concat([results(folder/s).assign(set=s) for s in ('one', 'two')])
    rows = rows[rows.system.isin(names)]
    shown = {name: rows[FIGURES[name]] for name in SEEN}
    shown |= {name: rows[f'listening.label_predicted.{key}'] for name, key in HEARD.items()}
    return pd.DataFrame(dict(system=rows.system, set=rows.set, seed=rows.seed, **shown,
                             **{'named right by C': rows.accuracy_label_given_by_c}))


def main(): write_whole(OUT, table().to_csv(index=False, lineterminator='\n').encode())


if __name__ == '__main__': main()

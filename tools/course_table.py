"""The table that chapter 11 reads, `cargan/pretrained/long.csv`: the main figures of the runs in
benchmarks/long, a row a run.

    python tools/course_table.py
"""
from pathlib import Path

import pandas as pd

from cargan.core import write_whole
from cargan.evaluation.tables import FIGURES, results

ROOT = Path(__file__).parent.parent
FROM, OUT = ROOT/'benchmarks'/'long', ROOT/'cargan'/'pretrained'/'long.csv'
SHOWN = ('named right', 'label predicted', 'FD (judge)', 'L1', 'performer', 'pitch', 'loudness',
         'rest')


def table(folder=FROM)->pd.DataFrame:
    "Figures under the names they have on the pages"
    rows = results(folder)
    shown = {name: rows[FIGURES[name]] for name in SHOWN}
    return pd.DataFrame(dict(system=rows.system, seed=rows.seed, **shown,
                             **{'named right by C': rows.accuracy_label_given_by_c}))


def main(): write_whole(OUT, table().to_csv(index=False, lineterminator='\n').encode())


if __name__ == '__main__': main()

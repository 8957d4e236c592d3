"""The table that chapters 11 and 12 read, `cargan/pretrained/long.csv`: the main figures of the
runs in benchmarks/tables, a row a run.

    python tools/course_table.py
"""
from pathlib import Path

import pandas as pd

from cargan.core import write_whole
from cargan.evaluation.claims import FIGURES, load_runs
from cargan.evaluation.systems import paper_models
from cargan.evaluation.tables import results
from cargan.models.preset import get_preset

ROOT = Path(__file__).parent.parent
FROM, OUT = ROOT/'benchmarks'/'tables', ROOT/'cargan'/'pretrained'/'long.csv'
SETS = 'one', 'two'
CONTROLS = 'E', 'E, no label', 'E+', 'E+, no label', 'E+, long' # the GPU's runs, set `one`
# heading: the judges' answers, or what stands in the results; what is heard, with the label guessed
ANSWERED = {'named right': 'named right', 'label predicted': 'label predicted', 'L1': 'L1',
            **{k: f'{k}, label predicted' for k in ('performer', 'pitch', 'rest')}}
WRITTEN = {'FD (judge)': 'fd_classifier', 'loudness': 'listening.label_predicted.loudness',
           'named right by C': 'accuracy_label_given_by_c'}
ORDER = ('named right', 'label predicted', 'FD (judge)', 'L1', 'performer', 'pitch', 'loudness',
         'rest', 'named right by C')


def figure(name, asked, answers):
    "Of one run"
    return round(float(FIGURES[name].value(FIGURES[name].moments(asked, answers).sum(0))), 4)


def rows_of(folder, names):
    "A row a run of these systems in the folder of an `Ablation`"
    runs, written = load_runs(folder), results(folder).set_index(['system', 'seed'])
    for system in names:
        for seed, answers in runs.cells[0].get(system, {}).items():
            row = {h: figure(k, runs.asked[0], answers) for h, k in ANSWERED.items()}
            row |= {h: written.loc[(system, seed), k] for h, k in WRITTEN.items()}
            yield dict(system=system, set=folder.name, seed=seed, **{h: row[h] for h in ORDER})


def table(folder=FROM)->pd.DataFrame:
    "Figures under the names they have on the pages"
    names = [s.name for s in paper_models(get_preset('small', code=0))]
    rows = [row for s in SETS for row in rows_of(folder/s, names)]
    return pd.DataFrame([*rows, *rows_of(folder/'gpu', CONTROLS)])


def main(): write_whole(OUT, table().to_csv(index=False, lineterminator='\n').encode())


if __name__ == '__main__': main()

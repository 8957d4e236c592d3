"What the tests in a browser need: the site that `make docs` builds, a Chromium"
import shutil
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT/'_docs'
NAMES = 'chromium', 'chromium-browser', 'google-chrome'
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)

"""The script of the page about libraries does what the page says."""

import re
import subprocess
import sys
from pathlib import Path

from tests.docs.tables import ROOT

PAGE = """<img src="a.jpg"><img class="x" src="/images/b%20b.png" />
<img src='other.jpg'><img src="a.jpg" alt=""><img data-src="a.jpg"><img src="https://example.org/a.jpg"><p>a.jpg</p>
"""


def test_alt_text_is_filled_in_where_it_is_missing(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "libraries.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"<<'END'\n(.*?)    END\n", text, re.DOTALL)
    page = tmp_path / "site" / "pages" / "page.html"
    page.parent.mkdir(parents=True)
    page.write_text(PAGE, encoding="utf-8")
    table = "site/pages/a.jpg\tA dog &amp; a cat.\nsite/images/b b.png\tA bench.\n"
    (tmp_path / "alt.tsv").write_text(table, encoding="utf-8")
    program = re.sub("^    ", "", script, flags=re.MULTILINE)
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    first, rest = page.read_text(encoding="utf-8").split("\n", 1)
    assert first == '<img src="a.jpg" alt="A dog &amp; a cat."><img class="x" src="/images/b%20b.png" alt="A bench.">'
    assert rest == PAGE.split("\n", 1)[1]

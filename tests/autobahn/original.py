"""Runs autobahntestsuite (Python 2.7) from a folder: original.py FOLDER URL REPORTS."""
import json
import site
import sys

folder, url, reports = sys.argv[1:]
# `--target` folders hold .pth files (zope's namespace), which only a site directory is read for.
site.addsitedir(folder)

spec = {
    "outdir": reports,
    "servers": [{"agent": "wspipe", "url": url}],
    "cases": ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"],
    "exclude-cases": [],
    "exclude-agent-cases": {},
}
with open("spec.json", "w") as spec_file:
    json.dump(spec, spec_file)

from autobahntestsuite import wstest

sys.argv = ["wstest", "-m", "fuzzingclient", "-s", "spec.json"]
wstest.run()

"""Runs autobahntestsuite with Python 2.7: original.py FOLDER URL REPORTS. FOLDER holds its packages."""
import json
import site
import sys

folder, url, reports = sys.argv[1:]
# pip's `--target` folder holds .pth files (zope's namespace package), which Python reads only in a site
# directory.
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

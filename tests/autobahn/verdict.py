"""Judges the report of an Autobahn run: verdict.py INDEX_JSON JUDGE SECONDS.

The suite exits with 0 even when cases fail or when no server listens. So this program counts the cases in
the report.
"""
import json
import sys

CASES = 301
# The suite always rates these cases as informational.
INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}

index, judge, seconds = sys.argv[1:]
with open(index) as index_file:
    (results,) = json.load(index_file).values()


def is_right(case, result):
    allowed = {"OK", "INFORMATIONAL"} if case in INFORMATIONAL else {"OK"}
    return result["behavior"] in allowed and result["behaviorClose"] in allowed


def by_number(case):
    return [int(part) for part in case.split(".")]


wrong = sorted((case for case in results if not is_right(case, results[case])), key=by_number)
for case in wrong:
    result = results[case]
    print(f"{case}: {result['behavior']}, its close {result['behaviorClose']}")
informational = sum("INFORMATIONAL" in (r["behavior"], r["behaviorClose"]) for r in results.values())
print(
    f"autobahn: {len(results)} of {CASES} cases, {len(wrong)} wrong, {informational} informational, "
    f"in {seconds} s; judge: {judge}"
)
sys.exit(bool(wrong) or len(results) != CASES)

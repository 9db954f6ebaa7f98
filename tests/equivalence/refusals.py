"""Calls that are wrong, in the folder that `inputs.write` has filled."""

from __future__ import annotations

__all__ = ["REFUSED"]

_CALLS = """

nonsense
--nonsense
simulat scenarios
simulate
simulate missing.toml
simulate empty
simulate text.txt
simulate bad/syntax.toml
simulate bad/unknown_key.toml
simulate bad/unknown_fault.toml
simulate bad/rate.toml
simulate bad/model.toml
simulate good.toml --seed -1
simulate good.toml --seed one
simulate good.toml --seeds 0
simulate good.toml --speed 0
simulate good.toml --report report.docx
simulate good.toml --report text.txt/report.md
simulate good.toml --out text.txt
simulate unexpected.toml
scenario check bad/unknown_key.toml
plan check missing.toml
plan check empty
plan check text.txt
plan check bad/syntax.toml
plan check bad/plan_key.toml
plan check bad/plan_stages.toml
plan check bad/plan_judge.toml
plan check bad/plan_source.toml
plan check bad/plan_window.json
assess
assess plan.toml -n 0
assess plan.toml --precision 2
assess plan.toml --policy nobody
assess plan.toml --policy argo:bogus=1
assess plan.toml --conditions missing.toml
assess plan.toml --conditions plan.toml
assess plan.toml --confidence 1
assess plan.toml -n 2 --rows text.txt
assess plan.toml -n 2 --workers 1 --report report.xml
tune plan.toml --trials -1
tune plan.toml --within soon
tune plan.toml --error-rates few,many
tune plan.toml --detect 0
tune plan.toml --out text.txt
backtest
backtest missing.tape
backtest text.txt
backtest plan.toml
calibrate missing.log
calibrate text.txt
calibrate empty.log
calibrate access.log --format nobody
calibrate access.log --pattern $nonsense
calibrate access.log --unit weeks
calibrate access.log --secret-env NOT_SET
calibrate access.log --out text.txt/scenario.toml
tape import text.txt --out a.tape
tape import records.jsonl --out a.tape --map at=when
tape import records.jsonl --out a.tape --map nonsense
tape import access.log
tape info text.txt
tape info missing.tape
journal missing.jsonl
journal text.txt
journal bad/journal.jsonl
sign maybe --deployment-id v2 --secret-env OUR_SECRET
sign always --deployment-id v2 --secret-env NOT_SET
sign always --secret-env OUR_SECRET
slo rules bad/plan_key.toml
slo import text.txt
slo import bad/slo.yaml
slo openslo bad/plan_whole.toml
completion tcsh
"""

REFUSED = [tuple(line.split()) for line in _CALLS.splitlines()[1:]]

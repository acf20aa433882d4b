"""Chaos: every fault at random against the real gateway, and invariants that must hold meanwhile.

`make chaos` runs three minutes of it, `test_chaos.py` half a minute in the normal tier, and
`python -m tests.chaos --seconds N --seed S` whatever is asked for. docs/testing.md explains it.

    cast.py      who is on stage: the servers, and what each may answer
    schedule.py  pure: a seed becomes calls and disturbances, each with its time
    callers.py   calls over REST and MCP, by callers that behave and by those that do not
    faults.py    what is done to servers, processes, sessions, feeds and the configuration
    answers.py   pure: what an answer tells, and whether it is well-formed
    stage.py     what is known of one run: who was told what, what broke an invariant
    watch.py     health, holdings and their slopes
    run.py       the phases of a run, from first start to the verdict
"""

"""Measures the gateway: `python -m bench` for speed, `python -m bench.kill` for a server killed under load.

Starts the gateway as a user does, by its command, and never imports it. `ways` starts what is measured,
`load` makes calls and judges answers, `machine` reads what they cost, `report` holds the bars. Linux only:
CPU, memory and left-overs come from /proc.
"""

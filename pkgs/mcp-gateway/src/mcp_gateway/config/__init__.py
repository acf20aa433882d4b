"""What the operator wrote, as frozen values: read once, checked whole, passed in.

`model` is the shape and the defaults; `load` finds and reads the file; `foreign` knows the keys other
MCP clients write; `positions` and `variables` are small pure parts of it; `secrets` turns one server's
configuration into what its process or connection really gets, at the moment it is started. For a
reload, `watching` says when the file may have changed and `changes` what moved; `aside` is the thread
for what may hang.
"""

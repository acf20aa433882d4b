"""One live link to one server: the only code that opens processes or outgoing connections.

    lifecycle   pure: the states of a server, what moves it, when it tries again
    upstream    the owner task of one server: runs the table, opens and closes the link
    requests    ids, queue, deadlines and answers of the calls that share the link
    opening     from a fresh process to a ready link: which era, which revision, which tools
    listing     the whole tool list, or none of it
    exchange    one request and everything that comes back for it
    logring     the last words of a server, safe to show
    stdio       framing, and the link to a child process
    process     a child and everything it started: spawn, exit reason, the end of the whole tree
    http, sse   the links to a remote server, over what `remote` knows of it
    pool        HTTP/1.1 over kept connections, which `dialing` opens

Knows nothing of callers' rights, HTTP or SQL. `gateway/` calls it.
"""

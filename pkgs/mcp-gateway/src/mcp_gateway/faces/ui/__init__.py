"""The web UI: pages for the person who runs the gateway, rendered here and kept up to date over SSE.

    render   templates into answers, with what stands around every page
    assets   the files that browsers load, as `ui/build.py` made them
    routing  routes of pages: rights, and failures as pages or notices
    pwa      what makes the pages an app to install
    live     a page's parts, again whenever what they show has changed
    servers, ...  one module per page

A sibling of REST over the facade: what a page can do, a route under `/api` can. All text of servers is
hostile: the templates escape it, and nothing of it is ever markup, an address to load or htmx's business.
"""

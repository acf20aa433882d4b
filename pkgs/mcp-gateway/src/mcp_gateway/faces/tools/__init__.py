"""The tool API: every tool as an HTTP operation of its own, for clients that know OpenAPI and no MCP.

call      `POST /tools/{server}/{tool}`
results   what MCP answers -> what such clients expect
files     links in answers, to what is too large or of another kind than JSON
document  the OpenAPI documents
routes    where those are
"""

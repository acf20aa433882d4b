"""The ways in: decode a request, ask the gateway, encode its answer. Nothing is decided here.

http      the shared edge of every HTTP face: who may knock, limits, the error documents
calls     POST /api/tools/..., plain ASGI: the hot route of REST
rest      the rest of /api, by FastAPI, and the OpenAPI document
mcp/      MCP over HTTP
ui/       the web UI: pages for people, at / and below /ui/
policy    what each route asks for
"""

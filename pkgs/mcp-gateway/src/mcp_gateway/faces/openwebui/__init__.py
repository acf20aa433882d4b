"""What Open WebUI gets from this gateway beside its doors: code that it runs itself.

functions    tools -> the source of a toolkit of Open WebUI
routes       `/api/openwebui/functions`, and links that Open WebUI follows
"""

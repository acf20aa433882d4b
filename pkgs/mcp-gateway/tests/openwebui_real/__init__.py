"""The gateway behind a real Open WebUI: `make test-openwebui`, and never a part of `make test` (1.8 GB)."""

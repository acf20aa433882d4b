"""What the pages of `docs/` tell people to type, typed: `running` does it, a test module names the pages."""

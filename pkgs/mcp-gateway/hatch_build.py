"""What hatchling asks when the package is built: the web UI's files, made unless they are there already.

A clone that `make` has set up has them; for an installation from source Node comes from PyPI where the
machine has none.
"""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent / "ui"))
import build as ui


class WebUi(BuildHookInterface[Any]):
    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        return [] if ui.is_current() or ui.node_on_path() is not None else [ui.NODE_PACKAGE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":  # `make` builds for those, and again when something changes
            ui.build()

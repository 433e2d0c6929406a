"""Every place where foreign text or bytes come in."""

from __future__ import annotations

import of_containers
import of_engines
import of_files
import of_probes
import of_workspace
from oracle import Surface

SURFACES: dict[str, Surface] = {
    one.name: one for part in (of_probes, of_engines, of_containers, of_workspace, of_files) for one in part.SURFACES
}

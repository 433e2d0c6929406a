"""Every place where foreign text or bytes come in."""

from __future__ import annotations

import of_containers
import of_engines
import of_files
import of_kubernetes
import of_probes
import of_service
import of_workspace
from oracle import Surface

PARTS = (of_probes, of_engines, of_containers, of_kubernetes, of_service, of_workspace, of_files)
SURFACES: dict[str, Surface] = {one.name: one for part in PARTS for one in part.SURFACES}
"""What may come of foreign bytes: a value that can be kept, or an error of gpurec's own, soon. Anything else is a fault."""

"""A simulated fleet: real HTTP servers over simulated cards. Knows nothing of the rest of the program.

with running(builtin_fleet("demo").on_free_ports()) as fleet:
    fleet.engines["ada/ollama"].url
    fleet.nodes["ada"].cards[0].foreign = 4 * 2**30
    fleet.engines["ada/ollama"].restart()
    fleet.engines["ada/ollama"].requests
"""

from reconciler.sim.builtin import BUILTIN_FLEETS, builtin_fleet
from reconciler.sim.cards import Card
from reconciler.sim.engine import Engine
from reconciler.sim.errors import PortTaken, SimError, SimFileError
from reconciler.sim.fleet import Node, SimFleet, running
from reconciler.sim.read import read_sim_file, read_sim_text
from reconciler.sim.requests import LoggedRequest
from reconciler.sim.spec import FaultSpec, SimEngine, SimGpu, SimGroup, SimModel, SimNode, SimSpec

__all__ = [
    "BUILTIN_FLEETS",
    "Card",
    "Engine",
    "FaultSpec",
    "LoggedRequest",
    "Node",
    "PortTaken",
    "SimEngine",
    "SimError",
    "SimFileError",
    "SimFleet",
    "SimGpu",
    "SimGroup",
    "SimModel",
    "SimNode",
    "SimSpec",
    "builtin_fleet",
    "read_sim_file",
    "read_sim_text",
    "running",
]

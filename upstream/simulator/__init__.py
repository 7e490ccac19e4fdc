"""A provider to develop, test and demonstrate against: the whole of API v2, with faults.

with Simulator(key="k", balance=Decimal(100), pace=5) as simulator:
    ...  # speak to simulator.url, look into simulator.world
"""

from upstream.simulator.document import document_world
from upstream.simulator.faults import Fault
from upstream.simulator.server import Simulator
from upstream.simulator.services import load_services
from upstream.simulator.settings import Settings
from upstream.simulator.world import World

__all__ = ["Fault", "Settings", "Simulator", "World", "document_world", "load_services"]

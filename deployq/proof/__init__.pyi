"""Where each name of `deployq.proof` stands; imported when it is asked for."""

from .bootstrap import bootstrap_interval as bootstrap_interval
from .edit_distance import similarity as similarity
from .json_places import path_mistake as path_mistake, places_at as places_at
from .schemas import schema_fault as schema_fault, schema_mistake as schema_mistake

"""Where each name of `deployq.proof` stands; imported when it is asked for."""

from .edit_distance import similarity as similarity
from .intervals import paired_interval as paired_interval, ratio_interval as ratio_interval
from .json_places import path_mistake as path_mistake, places_at as places_at
from .schemas import schema_fault as schema_fault, schema_mistake as schema_mistake

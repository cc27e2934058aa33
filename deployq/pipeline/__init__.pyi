"""Where each name of `deployq.pipeline` stands; imported when it is asked for."""

from .building import build_all as build_all, require_room as require_room
from .convert import made_ready as made_ready, require_allowed as require_allowed
from .deploy import carry_out as carry_out
from .hub_source import as_locked as as_locked, hub_source as hub_source
from .importance import imatrix_key as imatrix_key
from .ollama_source import ollama_source as ollama_source
from .runs import write_page as write_page
from .threads import in_threads as in_threads

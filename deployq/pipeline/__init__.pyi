"""Where each name of `deployq.pipeline` stands; imported when it is asked for."""

from .importance import imatrix_key as imatrix_key
from .ollama_source import ollama_source as ollama_source
from .hub_source import as_locked as as_locked, hub_source as hub_source

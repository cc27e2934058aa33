"""Where each name of `deployq.pipeline` stands; imported when it is asked for."""

from .importance import imatrix_key as imatrix_key
from .ollama_source import ollama_source as ollama_source

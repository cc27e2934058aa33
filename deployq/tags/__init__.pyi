"""Where each name of `deployq.tags` stands; imported when it is asked for."""

from .client import ollama_client as ollama_client
from .foreign import FOREIGN as FOREIGN, translate as translate
from .keyrings import keyring_secret as keyring_secret
from .remote import Remote as Remote
from .templates import environment as environment, render_modelfile as render_modelfile
from .upload import post_file as post_file

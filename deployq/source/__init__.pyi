"""Where each name of `deployq.source` stands; imported when it is asked for."""

from .adapter import (
    Adapter as Adapter,
    check_adapter as check_adapter,
    check_commit as check_commit,
    read_adapter as read_adapter,
)
from .hf import inspect_hugging_face as inspect_hugging_face, is_hugging_face as is_hugging_face
from .hf_names import is_projector as is_projector
from .preflight import (
    check_config as check_config,
    check_folder as check_folder,
    check_pickled as check_pickled,
    check_senses as check_senses,
)
from .stored import read_weights as read_weights
from .tokenizer_files import read_tokenizer as read_tokenizer
from .weights import (
    check_trained as check_trained,
    read_array as read_array,
    scan_weights as scan_weights,
)

"""Where each name of `deployq.source` stands; imported when it is asked for."""

from .hf import inspect_hugging_face as inspect_hugging_face, is_hugging_face as is_hugging_face
from .weights import (
    check_trained as check_trained,
    read_array as read_array,
    scan_weights as scan_weights,
)

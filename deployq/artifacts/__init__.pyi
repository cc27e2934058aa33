"""Where each name of `deployq.artifacts` stands; imported when it is asked for."""

from .imatrix import (
    missing_tensors as missing_tensors,
    read_imatrix as read_imatrix,
    require_fits as require_fits,
)

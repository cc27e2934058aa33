"""Where each name of `deployq.pipeline` stands; imported when it is asked for."""

from .importance import imatrix_key as imatrix_key

"""Where each name of `deployq.pipeline` stands; imported when it is asked for."""

from .building import build_all as build_all, require_room as require_room
from .convert import made_ready as made_ready
from .deploy import carry_out as carry_out
from .importance import imatrix_key as imatrix_key
from .runs import write_page as write_page

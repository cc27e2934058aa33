"""`template = "model"`: the server renders the model's own chat template, or says why it can't.

Most often it does so by itself, and nothing is sent. Where it took the template for one that it
knows, a TEMPLATE made from the model's own goes into the tag, and is proven by rendering again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from deployq.errors import ServerRefused
from deployq.pipeline.parity import check_parity
from deployq.pipeline.servers import Site
from deployq.pipeline.session import Session
from deployq.records import dataclass
from deployq.tags.chat_template import chat_template_of
from deployq.tags.go_template import derive
from deployq.tags.modelfile import Modelfile
from deployq.types import ModelInfo, ParityReport

SERVER_WIDE = (
    "start the server with OLLAMA_GO_TEMPLATE=0 (for all of its tags): it then uses the chat "
    "template in the weights"
)


@dataclass(frozen=True)
class Settled:
    """How the prompts of a tag came out.

    `modelfile` is what the tag was created from last, `report` what it renders now. `why` says why
    the model's own template could not be reached; empty where it was.
    """

    modelfile: Modelfile
    report: ParityReport
    why: str = ""


def settle_template(
    session: Session,
    site: Site,
    tag: str,
    modelfile: Modelfile,
    info: ModelInfo,
    recreate: Callable[[Modelfile], None],
) -> Settled:
    """Make a tag render the model's own chat template, with as little as that takes.

    Args:
        tag: its name on the server, where it was created from `modelfile`.
        recreate: creates the tag under that name from another Modelfile.

    Raises:
        ServerError: the server fails.
        SourceError: the model's template takes too long to render.
    """
    first = check_parity(session, site, tag, info)
    template = chat_template_of(info)
    if not first.differing or template is None:
        return Settled(modelfile, first)
    derived = derive(template)
    if not derived.text:
        return Settled(modelfile, first, _unreachable(derived.why))
    mended = replace(modelfile, template=derived.text)
    try:
        recreate(mended)
    except ServerRefused as exc:
        return Settled(modelfile, first, _unreachable(exc.message))
    second = check_parity(session, site, tag, info)
    if not second.differing:
        return Settled(mended, second)
    why = _unreachable(
        "a TEMPLATE made from it renders otherwise, too, in: "
        + ", ".join(row.name for row in second.differing)
    )
    if len(second.differing) < len(first.differing):
        return Settled(mended, second, why)
    recreate(modelfile)
    return Settled(modelfile, first, why)


def _unreachable(why: str) -> str:
    return f"the model's own chat template can't be forced on this tag: {why}; {SERVER_WIDE}"

"""Where each name of `deployq.report` stands; imported when it is asked for."""

from .console import show as show
from .console import stderr as stderr
from .console import talk as talk
from .documents import (
    explanation_document as explanation_document,
)
from .documents import (
    plan_document as plan_document,
)
from .documents import (
    plans_document as plans_document,
)
from .documents import (
    report_document as report_document,
)
from .documents import (
    verifications_document as verifications_document,
)
from .explain_view import explain_view as explain_view
from .guide_view import (
    guide_document as guide_document,
)
from .guide_view import (
    guide_markdown as guide_markdown,
)
from .guide_view import (
    guide_view as guide_view,
)
from .inspect_view import inspect_document as inspect_document
from .inspect_view import inspect_view as inspect_view
from .plan_chart import plan_chart as plan_chart
from .plan_markdown import plan_markdown as plan_markdown
from .plan_view import plan_view as plan_view
from .profile_view import (
    Found as Found,
)
from .profile_view import (
    Preset as Preset,
)
from .profile_view import (
    grouped as grouped,
)
from .profile_view import (
    machine_document as machine_document,
)
from .profile_view import (
    machine_view as machine_view,
)
from .profile_view import (
    presets_document as presets_document,
)
from .profile_view import (
    presets_view as presets_view,
)
from .progress import TerminalProgress as TerminalProgress
from .progress_bars import bars as bars
from .runs import write_text as write_text
from .tag_view import tags_document as tags_document
from .tag_view import tags_table as tags_table
from .terminal import push_summary as push_summary
from .terminal import verification_view as verification_view
from .together_view import TogetherView as TogetherView
from .wording import plain as plain

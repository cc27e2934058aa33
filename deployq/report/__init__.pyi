"""Where each name of `deployq.report` stands; imported when it is asked for."""

from .comparison_page import comparison_page as comparison_page
from .comparison_view import (
    comparison_document as comparison_document,
    comparison_view as comparison_view,
)
from .console import plain_console as plain_console, show as show, stderr as stderr
from .diagnosis_document import diagnosis_document as diagnosis_document
from .diagnosis_view import diagnosis_view as diagnosis_view
from .documents import (
    explanation_document as explanation_document,
    plan_document as plan_document,
    plans_document as plans_document,
    report_document as report_document,
    verifications_document as verifications_document,
)
from .explain_view import explain_view as explain_view
from .generation_view import (
    difference_document as difference_document,
    difference_view as difference_view,
    history_document as history_document,
    history_table as history_table,
    status_document as status_document,
    status_view as status_view,
)
from .guide_view import (
    guide_document as guide_document,
    guide_markdown as guide_markdown,
    guide_view as guide_view,
)
from .inspect_view import inspect_document as inspect_document, inspect_view as inspect_view
from .judged_view import judged_view as judged_view
from .junit import (
    push_junit as push_junit,
    quality_junit as quality_junit,
    verifications_junit as verifications_junit,
)
from .lines import draw as draw, talk as talk
from .page import run_page as run_page
from .run_junit import run_junit as run_junit
from .parity_document import parity_document as parity_document
from .parity_view import parity_view as parity_view
from .measure_view import (
    bench_csv as bench_csv,
    bench_document as bench_document,
    bench_markdown as bench_markdown,
    bench_view as bench_view,
    measure_document as measure_document,
    measure_markdown as measure_markdown,
    measure_view as measure_view,
)
from .plan_chart import plan_chart as plan_chart
from .plan_markdown import plan_markdown as plan_markdown
from .plan_view import plan_view as plan_view, remarks_view as remarks_view
from .profile_view import (
    Found as Found,
    Preset as Preset,
    grouped as grouped,
    machine_document as machine_document,
    machine_view as machine_view,
    presets_document as presets_document,
    presets_view as presets_view,
)
from .progress import TerminalProgress as TerminalProgress
from .progress_bars import progress_bars as progress_bars
from .push_markdown import (
    push_markdown as push_markdown,
    verifications_markdown as verifications_markdown,
)
from .quality_document import (
    quality_document as quality_document,
    recommendations_document as recommendations_document,
)
from .quality_view import (
    quality_markdown as quality_markdown,
    quality_view as quality_view,
    recommendation_markdown as recommendation_markdown,
    recommendation_view as recommendation_view,
)
from .run_reading import read_run as read_run
from .runs import write_text as write_text
from .storage_view import (
    cache_document as cache_document,
    cache_table as cache_table,
    prune_document as prune_document,
    prune_table as prune_table,
)
from .tag_view import tags_document as tags_document, tags_table as tags_table
from .terminal import push_summary as push_summary, verification_view as verification_view
from .together_view import together_view as together_view
from .wording import plain as plain

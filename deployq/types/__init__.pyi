"""Where each record and protocol of `deployq.types` stands; imported when it is asked for."""

from .answers import Endpoint as Endpoint
from .answers import Health as Health
from .answers import Measurement as Measurement
from .artifacts import Artifact as Artifact
from .artifacts import QuantizeJob as QuantizeJob
from .base import (
    BandwidthSource as BandwidthSource,
)
from .base import (
    Fit as Fit,
)
from .base import (
    Goal as Goal,
)
from .base import (
    Json as Json,
)
from .base import (
    MemoryKind as MemoryKind,
)
from .base import (
    Scalar as Scalar,
)
from .base import (
    SourceFormat as SourceFormat,
)
from .base import (
    StepStatus as StepStatus,
)
from .guide import (
    Guide as Guide,
)
from .guide import (
    GuideChoice as GuideChoice,
)
from .guide import (
    GuideFit as GuideFit,
)
from .guide import (
    GuideSize as GuideSize,
)
from .machines import (
    Bandwidth as Bandwidth,
)
from .machines import (
    Card as Card,
)
from .machines import (
    Hardware as Hardware,
)
from .machines import (
    Speed as Speed,
)
from .machines import (
    Target as Target,
)
from .plan import (
    Candidate as Candidate,
)
from .plan import (
    DiskPlan as DiskPlan,
)
from .plan import (
    DiskStep as DiskStep,
)
from .plan import (
    Explanation as Explanation,
)
from .plan import (
    FileSystem as FileSystem,
)
from .plan import (
    Judged as Judged,
)
from .plan import (
    Memory as Memory,
)
from .plan import (
    Offload as Offload,
)
from .plan import (
    Plan as Plan,
)
from .plan import (
    QuantSize as QuantSize,
)
from .plan import (
    Share as Share,
)
from .plan import (
    TargetPlan as TargetPlan,
)
from .plan import (
    TensorGroup as TensorGroup,
)
from .plan import (
    Term as Term,
)
from .plan import (
    TogetherPlan as TogetherPlan,
)
from .protocols import (
    Answerer as Answerer,
)
from .protocols import (
    Backend as Backend,
)
from .protocols import (
    CheckType as CheckType,
)
from .protocols import (
    Converter as Converter,
)
from .protocols import (
    Judge as Judge,
)
from .protocols import (
    MeasuringProfiler as MeasuringProfiler,
)
from .protocols import (
    Meter as Meter,
)
from .protocols import (
    PrivateRuntime as PrivateRuntime,
)
from .protocols import (
    Profiler as Profiler,
)
from .protocols import (
    Progress as Progress,
)
from .protocols import (
    ReportFormat as ReportFormat,
)
from .protocols import (
    Runtime as Runtime,
)
from .protocols import (
    StoringRuntime as StoringRuntime,
)
from .protocols import (
    no_progress as no_progress,
)
from .report import (
    HeldTag as HeldTag,
)
from .report import (
    Report as Report,
)
from .report import (
    Score as Score,
)
from .report import (
    StepResult as StepResult,
)
from .report import (
    TagReport as TagReport,
)
from .report import (
    TargetReport as TargetReport,
)
from .source import ModelInfo as ModelInfo
from .source import TensorInfo as TensorInfo
from .verification import (
    Answer as Answer,
)
from .verification import (
    Message as Message,
)
from .verification import (
    Prompt as Prompt,
)
from .verification import (
    PromptResult as PromptResult,
)
from .verification import (
    Verdict as Verdict,
)
from .verification import (
    Verification as Verification,
)

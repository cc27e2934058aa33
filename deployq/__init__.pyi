"""Where each name of the public API stands; imported when it is asked for."""

from .errors import (
    ArtifactError as ArtifactError,
)
from .errors import (
    BackendError as BackendError,
)
from .errors import (
    ConfigError as ConfigError,
)
from .errors import (
    DeployqError as DeployqError,
)
from .errors import (
    DiskError as DiskError,
)
from .errors import (
    DoesNotFit as DoesNotFit,
)
from .errors import (
    LockfileError as LockfileError,
)
from .errors import (
    ModelfileError as ModelfileError,
)
from .errors import (
    PluginError as PluginError,
)
from .errors import (
    ServerError as ServerError,
)
from .errors import (
    ServerRefused as ServerRefused,
)
from .errors import (
    ServerTimeout as ServerTimeout,
)
from .errors import (
    ServerUnreachable as ServerUnreachable,
)
from .errors import (
    SourceError as SourceError,
)
from .errors import (
    SuiteError as SuiteError,
)
from .errors import (
    ToolMissing as ToolMissing,
)
from .errors import (
    VerificationFailed as VerificationFailed,
)
from .hookspecs import hookimpl as hookimpl
from .source.inspect import inspect as inspect
from .types import (
    Answer as Answer,
)
from .types import (
    Artifact as Artifact,
)
from .types import (
    Backend as Backend,
)
from .types import (
    Card as Card,
)
from .types import (
    CheckType as CheckType,
)
from .types import (
    Converter as Converter,
)
from .types import (
    Endpoint as Endpoint,
)
from .types import (
    Hardware as Hardware,
)
from .types import (
    Health as Health,
)
from .types import (
    Json as Json,
)
from .types import (
    Judge as Judge,
)
from .types import (
    Measurement as Measurement,
)
from .types import (
    MeasuringProfiler as MeasuringProfiler,
)
from .types import (
    Memory as Memory,
)
from .types import (
    MemoryKind as MemoryKind,
)
from .types import (
    Message as Message,
)
from .types import (
    Meter as Meter,
)
from .types import (
    ModelInfo as ModelInfo,
)
from .types import (
    Plan as Plan,
)
from .types import (
    Profiler as Profiler,
)
from .types import (
    Progress as Progress,
)
from .types import (
    Prompt as Prompt,
)
from .types import (
    QuantizeJob as QuantizeJob,
)
from .types import (
    QuantSize as QuantSize,
)
from .types import (
    Report as Report,
)
from .types import (
    ReportFormat as ReportFormat,
)
from .types import (
    Runtime as Runtime,
)
from .types import (
    StepResult as StepResult,
)
from .types import (
    Target as Target,
)
from .types import (
    TensorInfo as TensorInfo,
)
from .types import (
    Verdict as Verdict,
)
from .types import (
    no_progress as no_progress,
)

__version__: str

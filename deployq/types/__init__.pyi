"""Where each record and protocol of `deployq.types` stands; imported when it is asked for."""

from .answers import (
    Completion as Completion,
    Endpoint as Endpoint,
    Health as Health,
    Measurement as Measurement,
)
from .artifacts import (
    Artifact as Artifact,
    ConvertJob as ConvertJob,
    Failed as Failed,
    Finding as Finding,
    MadeFrom as MadeFrom,
    NotRun as NotRun,
    Part as Part,
    QuantizeJob as QuantizeJob,
    Remark as Remark,
    SourceCheck as SourceCheck,
)
from .base import (
    BandwidthSource as BandwidthSource,
    Fit as Fit,
    Goal as Goal,
    Json as Json,
    MemoryKind as MemoryKind,
    Scalar as Scalar,
    SourceFormat as SourceFormat,
    StepStatus as StepStatus,
)
from .comparison import (
    ChangeVerdict as ChangeVerdict,
    FigureChange as FigureChange,
    FigureName as FigureName,
    RunComparison as RunComparison,
    TagChange as TagChange,
)
from .diagnosis import (
    Cause as Cause,
    Clue as Clue,
    Confidence as Confidence,
    Diagnosis as Diagnosis,
    Ruling as Ruling,
    Rung as Rung,
    RungName as RungName,
)
from .explanation import Explanation as Explanation, TensorGroup as TensorGroup, Term as Term
from .generations import (
    Generation as Generation,
    TagDifference as TagDifference,
    TagState as TagState,
    TagStatus as TagStatus,
)
from .guide import (
    Guide as Guide,
    GuideChoice as GuideChoice,
    GuideFit as GuideFit,
    GuideSize as GuideSize,
)
from .importance import Imatrix as Imatrix, ImatrixFacts as ImatrixFacts
from .machines import (
    Bandwidth as Bandwidth,
    Card as Card,
    Hardware as Hardware,
    Speed as Speed,
    Serving as Serving,
    Target as Target,
)
from .measuring import (
    BenchReport as BenchReport,
    Comparison as Comparison,
    MeasuredRow as MeasuredRow,
    MeasureReport as MeasureReport,
    MeterText as MeterText,
    Samples as Samples,
    SpeedOptions as SpeedOptions,
    Speeds as Speeds,
    TextOptions as TextOptions,
    TextScore as TextScore,
)
from .parity import (
    Conversation as Conversation,
    ConversationParity as ConversationParity,
    Difference as Difference,
    Fault as Fault,
    FaultKind as FaultKind,
    ParityReport as ParityReport,
    ParityStatus as ParityStatus,
    ParityWay as ParityWay,
    RenderedPrompt as RenderedPrompt,
    ServedTemplate as ServedTemplate,
    ToolCall as ToolCall,
    Turn as Turn,
)
from .plan import (
    Candidate as Candidate,
    DiskPlan as DiskPlan,
    DiskStep as DiskStep,
    FileSystem as FileSystem,
    Judged as Judged,
    Memory as Memory,
    Offload as Offload,
    Plan as Plan,
    QuantSize as QuantSize,
    TargetPlan as TargetPlan,
)
from .protocols import (
    AddressedRuntime as AddressedRuntime,
    Answerer as Answerer,
    Backend as Backend,
    Calibrator as Calibrator,
    CheckingConverter as CheckingConverter,
    CheckingJudge as CheckingJudge,
    CheckType as CheckType,
    ComparingMeter as ComparingMeter,
    Completer as Completer,
    Converter as Converter,
    Engine as Engine,
    FollowingCompleter as FollowingCompleter,
    Judge as Judge,
    MeasuringProfiler as MeasuringProfiler,
    MergingBackend as MergingBackend,
    Meter as Meter,
    PrivateRuntime as PrivateRuntime,
    Profiler as Profiler,
    Progress as Progress,
    RawModel as RawModel,
    ReportFormat as ReportFormat,
    Runtime as Runtime,
    SpeedMeter as SpeedMeter,
    ServingRuntime as ServingRuntime,
    StoringRuntime as StoringRuntime,
    Tracer as Tracer,
    no_progress as no_progress,
)
from .quality import (
    BROKEN as BROKEN,
    Agreement as Agreement,
    Baseline as Baseline,
    BaselineKey as BaselineKey,
    Call as Call,
    Cost as Cost,
    Decision as Decision,
    End as End,
    Estimate as Estimate,
    Evidence as Evidence,
    GateRule as GateRule,
    GateStatus as GateStatus,
    GateVerdict as GateVerdict,
    Noise as Noise,
    Piece as Piece,
    Position as Position,
    PromptAgreement as PromptAgreement,
    Quality as Quality,
    QualityReport as QualityReport,
    Recommendation as Recommendation,
    Spoken as Spoken,
    Stretch as Stretch,
    TokenStep as TokenStep,
    TracedAnswer as TracedAnswer,
)
from .report import (
    HeldTag as HeldTag,
    Report as Report,
    Score as Score,
    StepResult as StepResult,
    TagReport as TagReport,
    TargetReport as TargetReport,
)
from .run import (
    Run as Run,
    RunAgreement as RunAgreement,
    RunAnswer as RunAnswer,
    RunFit as RunFit,
    RunKind as RunKind,
    RunPrompt as RunPrompt,
    RunTag as RunTag,
    RunTarget as RunTarget,
    Standing as Standing,
)
from .source import ModelInfo as ModelInfo, TensorInfo as TensorInfo
from .together import Share as Share, TogetherPlan as TogetherPlan
from .storage import (
    CachedArtifact as CachedArtifact,
    HalfBuilt as HalfBuilt,
    Leftover as Leftover,
    LeftoverKind as LeftoverKind,
    Leftovers as Leftovers,
    Pruned as Pruned,
)
from .verification import (
    Answer as Answer,
    Message as Message,
    Prompt as Prompt,
    PromptResult as PromptResult,
    Verdict as Verdict,
    Verification as Verification,
)
